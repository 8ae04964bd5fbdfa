// @ts-check
// Parts of the form that lie over the page when they are open: their button opens and closes them, and so do Esc and a press elsewhere.
// A form beside the board is one line on a narrow screen, and its button opens it where it stands.

const OPEN = "ts-open";

/** Wire every popover of the page, and the form's own button. */
export function wirePopovers() {
  const form = document.getElementById("form");
  const fold = form?.querySelector(".ts-form-fold");
  fold?.addEventListener("click", () => fold.setAttribute("aria-expanded", String(form?.classList.toggle(OPEN))));
  const all = Array.from(document.querySelectorAll(".ts-popover"));
  const set = (/** @type {Element} */ popover, /** @type {boolean} */ open) => {
    popover.classList.toggle(OPEN, open);
    popover.querySelector("button[aria-expanded]")?.setAttribute("aria-expanded", String(open));
  };
  for (const popover of all) {
    popover.querySelector("button[aria-expanded]")?.addEventListener("click", () => set(popover, !popover.classList.contains(OPEN)));
  }
  document.addEventListener("pointerdown", (event) => {
    for (const popover of all) if (!popover.contains(/** @type {Element} */ (event.target))) set(popover, false);
  }, { capture: true });
  document.addEventListener("keydown", (event) => {
    const open = all.find((popover) => popover.classList.contains(OPEN));
    if (event.key !== "Escape" || !open) return;
    event.stopPropagation();
    set(open, false);
    /** @type {HTMLElement | null} */ (open.querySelector("button[aria-expanded]"))?.focus();
  }, { capture: true });
}
