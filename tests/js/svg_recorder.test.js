// What is drawn on a canvas as SVG: the same shapes at the same places, and text that any XML reader takes. And backgrounds as
// the browser computes them.

import test from "node:test";
import assert from "node:assert/strict";
import { escaped, fontOf, SvgRecorder, wellFormed } from "../../assets/js/core/svg_recorder.js";
import { apart, backgroundSvg, plainColour } from "../../assets/js/core/background_svg.js";
import { drawThrough, fit } from "../../assets/js/core/canvas.js";

/** A context that knows its settings and its transform, and draws nothing. */
function context({ ratio = 1 } = {}) {
  const stack = [];
  let matrix = [ratio, 0, 0, ratio, 0, 0];
  const called = [];
  const real = {
    fillStyle: "#000000", strokeStyle: "#000000", lineWidth: 1, lineCap: "butt", lineJoin: "miter", globalAlpha: 1, font: "14px system-ui, sans-serif",
    textAlign: "left", textBaseline: "alphabetic", imageSmoothingEnabled: true, dashes: [], called,
    save() { stack.push([...matrix]); },
    restore() { matrix = stack.pop(); },
    translate(x, y) { matrix[4] += matrix[0] * x; matrix[5] += matrix[3] * y; },
    scale(x, y) { matrix[0] *= x; matrix[3] *= y; },
    getTransform() { const [a, b, c, d, e, f] = matrix; return { a, b, c, d, e, f }; },
    setLineDash(dashes) { this.dashes = dashes; },
    getLineDash() { return this.dashes; },
    measureText(text) { return { width: text.length * 7, fontBoundingBoxAscent: this.textBaseline === "middle" ? 8 : 13 }; },
  };
  for (const name of ["beginPath", "closePath", "moveTo", "lineTo", "bezierCurveTo", "quadraticCurveTo", "rect", "roundRect", "arc", "clip", "fill", "stroke", "fillRect", "strokeRect", "clearRect", "fillText", "strokeText", "drawImage"]) {
    real[name] = (...given) => called.push([name, ...given]);
  }
  return real;
}

const recorder = (real = context(), more = {}) => new SvgRecorder(real, { ratio: 1, width: 100, height: 50, ground: "#ffffff", ...more });

test("a rectangle is drawn on the canvas and written down, in its colour and strength", () => {
  const real = context();
  const g = recorder(real);
  g.fillStyle = "#ff0000";
  g.globalAlpha = 0.5;
  g.fillRect(1, 2, 30.12345, 4);
  assert.deepEqual(real.called, [["fillRect", 1, 2, 30.12345, 4]]);
  assert.equal(real.fillStyle, "#ff0000");
  assert.equal(g.svg, '<path d="M1 2h30.123v4h-30.123Z" fill="#ff0000" fill-opacity="0.5"/>');
  g.globalAlpha *= 0.5;
  assert.equal(real.globalAlpha, 0.25);
});

test("a transform is that of the page's pixels, whatever the canvas's own are, and ends with its save", () => {
  for (const ratio of [1, 2, 3]) {
    const g = recorder(context({ ratio }), { ratio });
    g.save();
    g.translate(10, 20);
    g.scale(0.5, 1);
    g.fillRect(0, 0, 4, 4);
    g.restore();
    g.fillRect(0, 0, 4, 4);
    assert.match(g.svg, /^<path d="[^"]+" fill="#000000" transform="matrix\(0.5 0 0 1 10 20\)"\/><path d="[^"]+" fill="#000000"\/>$/, String(ratio));
  }
});

test("a path is stroked with its width, ends and dashes", () => {
  const g = recorder();
  Object.assign(g, { strokeStyle: "#123456", lineWidth: 2.5, lineCap: "round" });
  g.setLineDash([4, 3]);
  g.beginPath();
  g.moveTo(0, 0);
  g.bezierCurveTo(1, 1, 2, 2, 3, 3);
  g.quadraticCurveTo(4, 4, 5, 5);
  g.lineTo(6, 6);
  g.closePath();
  g.stroke();
  assert.equal(g.svg, '<path d="M0 0C1 1 2 2 3 3Q4 4 5 5L6 6Z" fill="none" stroke="#123456" stroke-width="2.5" stroke-linecap="round" stroke-dasharray="4 3"/>');
});

test("a whole circle is two arcs that end where it began", () => {
  const g = recorder();
  g.beginPath();
  g.arc(10, 10, 5, 0, 2 * Math.PI);
  g.fill();
  assert.match(g.svg, /d="M15 10A5 5 0 0 1 5 10A5 5 0 0 1 15 10"/);
});

test("what is clipped is clipped until the restore, and a clip in a clip is within both", () => {
  const g = recorder();
  const within = (x) => { g.beginPath(); g.rect(x, 0, 10, 10); g.clip(); };
  g.save();
  within(0);
  g.save();
  within(5);
  g.fillRect(0, 0, 20, 20);
  g.restore();
  g.fillRect(0, 0, 30, 30);
  g.restore();
  g.fillRect(0, 0, 40, 40);
  const [outer, inner] = [...g.svg.matchAll(/<clipPath id="([^"]+)"/g)].map((found) => found[1]);
  assert.notEqual(outer, inner);
  assert.ok(g.svg.includes(`<clipPath id="${inner}" clip-path="url(#${outer})">`));
  assert.match(g.svg, new RegExp(`<g clip-path="url\\(#${inner}\\)"><path d="M0 0h20.*<g clip-path="url\\(#${outer}\\)"><path d="M0 0h30[^>]*></g><path d="M0 0h40`));
});

test("text keeps its font, its side and its line, and what no XML may hold is replaced", () => {
  const g = recorder();
  Object.assign(g, { font: 'italic 650 13px system-ui, "Segoe UI", sans-serif', textAlign: "right", textBaseline: "middle" });
  g.fillText(`a < b & "c"\u0000\ufffe\ud800 \u{1f600}`, 5, 20);
  assert.equal(g.svg, '<text x="5" y="25" font-style="italic" font-weight="650" font-size="13" font-family="system-ui, &quot;Segoe UI&quot;, sans-serif" text-anchor="end" xml:space="preserve" '
    + 'fill="#000000">a &lt; b &amp; &quot;c&quot;\ufffd\ufffd\ufffd \u{1f600}</text>');
  assert.equal(g.real.textBaseline, "middle"); // as it was, though it was measured
  assert.equal(fontOf("bold 14px/20px serif"), ' font-weight="bold" font-size="14" font-family="serif"');
  assert.equal(escaped(wellFormed("\u{1f600}")), "\u{1f600}");
});

test("a canvas that is recorded too is drawn as a drawing, another one as its pixels", () => {
  const [other, plain] = [{ toDataURL: () => "data:image/png;base64,A" }, { toDataURL: () => "data:image/png;base64,B" }];
  const inner = recorder();
  inner.fillRect(0, 0, 1, 1);
  const g = recorder(context(), { drawn: new Map([[other, inner]]) });
  g.drawImage(other, 5, 6, 50, 50);
  g.imageSmoothingEnabled = false;
  g.drawImage(plain, 1, 2, 3, 4);
  assert.equal(g.svg, `<g transform="translate(5 6) scale(0.5 1)">${inner.svg}</g><image x="1" y="2" width="3" height="4" preserveAspectRatio="none" image-rendering="pixelated" href="data:image/png;base64,B"/>`);
});

test("a canvas is drawn through something else only while that is asked for", () => {
  globalThis.window ??= { devicePixelRatio: 2 };
  const real = { ...context(), setTransform() {} };
  const canvas = { style: {}, getContext: () => real };
  const seen = [];
  drawThrough((of, by, width, height) => { seen.push([of, width, height]); return recorder(by); }, () => assert.ok(fit(canvas, 30, 20) instanceof SvgRecorder));
  assert.equal(fit(canvas, 30, 20), real);
  assert.throws(() => drawThrough(() => real, () => { throw new Error("a view broke"); }));
  assert.equal(fit(canvas, 30, 20), real);
  assert.deepEqual(seen, [[canvas, 30, 20]]);
});

const style = (more) => ({ backgroundColor: "rgba(0, 0, 0, 0)", backgroundImage: "none", backgroundAttachment: "scroll", backgroundSize: "auto", backgroundPosition: "0% 0%", backgroundRepeat: "repeat", borderTopLeftRadius: "0px", ...more });
const box = { x: 10, y: 20, w: 100, h: 40 };

test("mixed colours are plain ones, and none where nothing is seen", () => {
  assert.equal(plainColour("color(srgb 1 0.5 0)"), "rgb(255, 128, 0)");
  assert.equal(plainColour("color(srgb 0 0 0 / 0.25)"), "rgba(0, 0, 0, 0.25)");
  for (const none of ["transparent", "rgba(0, 0, 0, 0)", "color(srgb 1 1 1 / 0)", undefined]) assert.equal(plainColour(none), null);
  assert.deepEqual(apart("rgb(1, 2, 3) 0px 0px, color(srgb 0 0 0) 1px"), ["rgb(1, 2, 3) 0px 0px", "color(srgb 0 0 0) 1px"]);
});

test("a background is its colour, a scale, stripes, or bars side by side", () => {
  assert.equal(backgroundSvg(style(), box), "");
  assert.equal(backgroundSvg(style({ backgroundColor: "rgb(1, 2, 3)", borderTopLeftRadius: "999px" }), box), '<rect x="10" y="20" width="100" height="40" rx="20" fill="rgb(1, 2, 3)"/>');
  const scale = backgroundSvg(style({ backgroundImage: "linear-gradient(to right, rgb(255, 0, 0), rgb(0, 0, 255))" }), box);
  assert.match(scale, /x1="10" y1="20" x2="110" y2="20"><stop offset="0" stop-color="rgb\(255, 0, 0\)"\/><stop offset="1" stop-color="rgb\(0, 0, 255\)"\/>/);
  const stripes = backgroundSvg(style({ backgroundImage: "repeating-linear-gradient(135deg, rgb(9, 9, 9) 0px, rgb(9, 9, 9) 2px, rgba(0, 0, 0, 0) 2px, rgba(0, 0, 0, 0) 5px)" }), box);
  assert.match(stripes, /<pattern [^>]*width="5" height="5" [^>]*rotate\(45\)"><rect x="0" width="2" height="5" fill="rgb\(9, 9, 9\)"\/>/);
  const foot = backgroundSvg(style({ backgroundImage: "linear-gradient(rgb(5, 5, 5), rgb(5, 5, 5))", backgroundSize: "100% 8px", backgroundPosition: "50% 100%", backgroundRepeat: "no-repeat" }), box);
  assert.equal(foot, '<rect x="10" y="52" width="100" height="8" fill="rgb(5, 5, 5)"/>');
  const bars = backgroundSvg(style({ backgroundImage: "linear-gradient(to right, rgb(1, 1, 1) 0px, rgb(1, 1, 1) calc(50% - 0.5px), rgb(2, 2, 2) 0px)", backgroundSize: "25% 100%", backgroundRepeat: "repeat-x" }), box);
  assert.equal(bars.match(/<rect /g).length, 4);
});
