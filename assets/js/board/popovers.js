// @ts-check
// Parts of the form that lie over the page when they are open: a press elsewhere closes them, and so do Esc and Run.

const OPEN = ".ts-popover > button.open, .ts-popover[open] > summary";

/** Close what is open when a person goes on elsewhere. */
export function closePopovers() {
  const close = (/** @type {Element | null} */ except) => {
    for (const button of document.querySelectorAll(OPEN)) {
      if (!except || !button.parentElement?.contains(except)) /** @type {HTMLElement} */ (button).click();
    }
  };
  document.addEventListener("pointerdown", (event) => close(/** @type {Element} */ (event.target)), { capture: true });
  document.addEventListener("keydown", (event) => {
    const open = /** @type {HTMLElement | null} */ (document.querySelector(OPEN));
    if (event.key !== "Escape" || !open) return;
    event.stopPropagation();
    close(null);
    open.focus();
  }, { capture: true });
}
