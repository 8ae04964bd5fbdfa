// @ts-check
// A canvas's 2D context that also writes down what is drawn, as SVG: with the calls that the pictures here use, and no others.
// The canvas is drawn as ever, and knows fonts, transforms and colours; the recorder asks it and adds the elements.

/** What is set on the context before it draws: the recorder hands it on. */
const SETTINGS = ["fillStyle", "strokeStyle", "lineWidth", "lineCap", "lineJoin", "globalAlpha", "font", "textAlign", "textBaseline", "imageSmoothingEnabled"];
const FONT = /^(italic |oblique )?(?:normal )*(bold |\d+ )?([\d.]+)px(?:\/\S+)? (.+)$/;
const ANCHORS = /** @type {Record<string, string>} */ ({ center: "middle", right: "end", end: "end" });
const NOT_XML = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu; // XML knows no such characters

let clips = 0; // all of one page: their names stand in one file

export class SvgRecorder {
  /** @param {CanvasRenderingContext2D} real @param {{ratio: number, width: number, height: number, ground: string, drawn?: Map<unknown, SvgRecorder>}} about
   * `ratio`: canvas pixels in a CSS pixel; `ground`: what is seen where the canvas is cleared; `drawn`: other canvases that are recorded, to be drawn into this one */
  constructor(real, { ratio, width, height, ground, drawn = new Map() }) {
    this.real = real;
    this.ratio = ratio;
    this.width = width;
    this.height = height;
    this.ground = ground;
    this.drawn = drawn;
    /** @type {string[]} */
    this.parts = [];
    this.path = "";
    /** @type {string | null} the id of what everything is clipped to now */
    this.clipped = null;
    /** @type {(string | null)[]} */
    this.saved = [];
  }

  /** What was drawn, in CSS pixels. */
  get svg() {
    return this.parts.join("");
  }

  save() {
    this.real.save();
    this.saved.push(this.clipped);
  }

  restore() {
    this.real.restore();
    this.clipped = this.saved.pop() ?? null;
  }

  /** @param {number} x @param {number} y */
  translate(x, y) { this.real.translate(x, y); }

  /** @param {number} angle */
  rotate(angle) { this.real.rotate(angle); }

  /** @param {number} x @param {number} y */
  scale(x, y) { this.real.scale(x, y); }

  /** @param {number[]} dashes */
  setLineDash(dashes) { this.real.setLineDash(dashes); }

  /** @param {string} text */
  measureText(text) { return this.real.measureText(text); }

  beginPath() {
    this.real.beginPath();
    this.path = "";
  }

  closePath() {
    this.real.closePath();
    this.path += "Z";
  }

  /** @param {number} x @param {number} y */
  moveTo(x, y) {
    this.real.moveTo(x, y);
    this.add("M", x, y);
  }

  /** @param {number} x @param {number} y */
  lineTo(x, y) {
    this.real.lineTo(x, y);
    this.add(this.path ? "L" : "M", x, y);
  }

  /** @param {number} ax @param {number} ay @param {number} bx @param {number} by @param {number} x @param {number} y */
  bezierCurveTo(ax, ay, bx, by, x, y) {
    this.real.bezierCurveTo(ax, ay, bx, by, x, y);
    this.add("C", ax, ay, bx, by, x, y);
  }

  /** @param {number} ax @param {number} ay @param {number} x @param {number} y */
  quadraticCurveTo(ax, ay, x, y) {
    this.real.quadraticCurveTo(ax, ay, x, y);
    this.add("Q", ax, ay, x, y);
  }

  /** @param {number} x @param {number} y @param {number} w @param {number} h */
  rect(x, y, w, h) {
    this.real.rect(x, y, w, h);
    this.path += box(x, y, w, h);
  }

  /** @param {number} x @param {number} y @param {number} w @param {number} h @param {number} r */
  roundRect(x, y, w, h, r) {
    this.real.roundRect(x, y, w, h, r);
    const arc = (/** @type {number} */ toX, /** @type {number} */ toY) => this.add("A", r, r, 0, 0, 1, toX, toY);
    this.add("M", x + r, y);
    this.add("H", x + w - r);
    arc(x + w, y + r);
    this.add("V", y + h - r);
    arc(x + w - r, y + h);
    this.add("H", x + r);
    arc(x, y + h - r);
    this.add("V", y + r);
    arc(x + r, y);
    this.path += "Z";
  }

  /** Clockwise. @param {number} x @param {number} y @param {number} r @param {number} from @param {number} to radians */
  arc(x, y, r, from, to) {
    this.real.arc(x, y, r, from, to);
    const turn = Math.min(to - from, 2 * Math.PI);
    const at = (/** @type {number} */ angle) => [x + r * Math.cos(angle), y + r * Math.sin(angle)];
    this.add(this.path ? "L" : "M", ...at(from));
    for (const half of [1, 2]) this.add("A", r, r, 0, 0, 1, ...at(from + (turn * half) / 2)); // SVG draws no whole turn at once
  }

  clip() {
    this.real.clip();
    clips += 1;
    const within = this.clipped ? ` clip-path="url(#${this.clipped})"` : "";
    this.clipped = `tokenoscope-clip-${clips}`;
    this.parts.push(`<clipPath id="${this.clipped}"${within}><path d="${this.path}"${this.placed()}/></clipPath>`);
  }

  fill() {
    this.real.fill();
    this.put(`<path d="${this.path}"${this.filled()}${this.placed()}/>`);
  }

  stroke() {
    this.real.stroke();
    this.put(`<path d="${this.path}" fill="none"${this.stroked()}${this.placed()}/>`);
  }

  /** @param {number} x @param {number} y @param {number} w @param {number} h */
  fillRect(x, y, w, h) {
    this.real.fillRect(x, y, w, h);
    this.put(`<path d="${box(x, y, w, h)}"${this.filled()}${this.placed()}/>`);
  }

  /** @param {number} x @param {number} y @param {number} w @param {number} h */
  strokeRect(x, y, w, h) {
    this.real.strokeRect(x, y, w, h);
    this.put(`<path d="${box(x, y, w, h)}" fill="none"${this.stroked()}${this.placed()}/>`);
  }

  /** What is cleared shows the ground again. @param {number} x @param {number} y @param {number} w @param {number} h */
  clearRect(x, y, w, h) {
    this.real.clearRect(x, y, w, h);
    this.put(`<path d="${box(x, y, w, h)}" fill="${this.ground}"${this.placed()}/>`);
  }

  /** @param {string} text @param {number} x @param {number} y */
  fillText(text, x, y) {
    this.real.fillText(text, x, y);
    this.put(this.text(text, x, y, this.filled()));
  }

  /** @param {string} text @param {number} x @param {number} y */
  strokeText(text, x, y) {
    this.real.strokeText(text, x, y);
    this.put(this.text(text, x, y, ` fill="none"${this.stroked()}`));
  }

  /** Another canvas, or a part of one. @param {HTMLCanvasElement} image @param {...number} place */
  drawImage(image, ...place) {
    /** @type {any} */ (this.real).drawImage(image, ...place);
    const [x, y, w, h] = place.length === 8 ? place.slice(4) : place;
    const other = this.drawn.get(image);
    const { globalAlpha } = this.real;
    const faint = globalAlpha < 1 ? ` opacity="${short(globalAlpha)}"` : "";
    if (other && place.length === 4) {
      this.put(`<g${this.placed(`translate(${short(x)} ${short(y)}) scale(${w / other.width} ${h / other.height})`)}${faint}>${other.svg}</g>`);
      return;
    }
    const source = place.length === 8 ? part(image, place) : image;
    const crisp = this.real.imageSmoothingEnabled ? "" : ' image-rendering="pixelated"';
    this.put(`<image x="${short(x)}" y="${short(y)}" width="${short(w)}" height="${short(h)}" preserveAspectRatio="none"${crisp}${faint}${this.placed()} href="${source.toDataURL("image/png")}"/>`);
  }

  /** @param {string} command @param {number[]} numbers */
  add(command, ...numbers) {
    this.path += command + numbers.map(short).join(" ");
  }

  /** @param {string} element */
  put(element) {
    this.parts.push(this.clipped ? `<g clip-path="url(#${this.clipped})">${element}</g>` : element);
  }

  /** The transform that holds now, without the canvas's own pixels. @param {string} [then] */
  placed(then = "") {
    const { a, b, c, d, e, f } = this.real.getTransform();
    const matrix = [a, b, c, d, e, f].map((each) => Math.round((each / this.ratio) * 1e5) / 1e5);
    const moves = matrix.join() === "1,0,0,1,0,0" ? then : `matrix(${matrix.join(" ")}) ${then}`.trim();
    return moves ? ` transform="${moves}"` : "";
  }

  filled() {
    return ink("fill", this.real.fillStyle, this.real.globalAlpha);
  }

  stroked() {
    const { strokeStyle, lineWidth, lineCap, lineJoin, globalAlpha } = this.real;
    const dashes = this.real.getLineDash();
    return [ink("stroke", strokeStyle, globalAlpha), ` stroke-width="${short(lineWidth)}"`, lineCap === "butt" ? "" : ` stroke-linecap="${lineCap}"`,
      lineJoin === "miter" ? "" : ` stroke-linejoin="${lineJoin}"`, dashes.length ? ` stroke-dasharray="${dashes.map(short).join(" ")}"` : ""].join("");
  }

  /** @param {string} text @param {number} x @param {number} y @param {string} paint */
  text(text, x, y, paint) {
    const anchor = ANCHORS[this.real.textAlign];
    return `<text x="${short(x)}" y="${short(y + this.baseline())}"${fontOf(this.real.font)}${anchor ? ` text-anchor="${anchor}"` : ""} xml:space="preserve"${paint}${this.placed()}>${escaped(text)}</text>`;
  }

  /** How far below the y of `fillText` the letters stand: measured, since programs disagree about other baselines. */
  baseline() {
    const { real } = this;
    const { textBaseline } = real;
    if (textBaseline === "alphabetic") return 0;
    const from = real.measureText("x").fontBoundingBoxAscent;
    real.textBaseline = "alphabetic";
    const ascent = real.measureText("x").fontBoundingBoxAscent;
    real.textBaseline = textBaseline;
    return ascent - from;
  }
}

for (const name of SETTINGS) {
  Object.defineProperty(SvgRecorder.prototype, name, {
    get() { return this.real[name]; },
    set(value) { this.real[name] = value; },
  });
}

/** Without the characters that no XML may hold. @param {string} xml */
export function wellFormed(xml) {
  return xml.replace(NOT_XML, "\ufffd");
}

/** Text as XML holds it. @param {string} text */
export function escaped(text) {
  return wellFormed(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

/** A font as CSS has it in one line, as attributes. @param {string} font */
export function fontOf(font) {
  const [, style = "", weight = "", size = "14", family = "sans-serif"] = FONT.exec(font) ?? [];
  return `${style ? ` font-style="${style.trim()}"` : ""}${weight ? ` font-weight="${weight.trim()}"` : ""} font-size="${size}" font-family="${escaped(family)}"`;
}

/** A number with no more digits than are seen. @param {number} number */
export function short(number) {
  return String(Math.round(number * 1000) / 1000);
}

/** @param {number} x @param {number} y @param {number} w @param {number} h */
function box(x, y, w, h) {
  return `M${short(x)} ${short(y)}h${short(w)}v${short(h)}h${short(-w)}Z`;
}

/** @param {"fill" | "stroke"} name @param {unknown} colour @param {number} alpha */
function ink(name, colour, alpha) {
  return ` ${name}="${colour}"${alpha < 1 ? ` ${name}-opacity="${short(alpha)}"` : ""}`;
}

/** A part of a canvas as one of its own. @param {HTMLCanvasElement} image @param {number[]} place */
function part(image, [x, y, w, h]) {
  const cut = document.createElement("canvas");
  cut.width = Math.max(1, Math.round(w));
  cut.height = Math.max(1, Math.round(h));
  cut.getContext("2d")?.drawImage(image, x, y, w, h, 0, 0, cut.width, cut.height);
  return cut;
}
