// Names for screen readers on what Gradio draws without them: photos, the table's check boxes, lists of buttons.
() => {
  const say = TEXTS[navigator.language.slice(0, 2)] || TEXTS.en;
  const set = (element, name, value) => { if (element && element.getAttribute(name) !== value) element.setAttribute(name, value); };
  const label = () => {
    for (const image of document.querySelectorAll("#chat .message img, .lav2-photo img")) {
      const text = image.closest(".lav2-photo") ? say.photo : say.photo_sent;
      set(image, "alt", text);
      set(image.closest("button"), "aria-label", text);
    }
    for (const box of document.querySelectorAll(".lav2-table input[type=checkbox]")) {
      const cell = box.closest("[data-testid^=cell-]");
      const row = cell && box.closest("[role=row]");
      const number = row ? [...row.querySelectorAll("[data-testid^=cell-]")][1]?.innerText.trim() : "";
      set(box, "aria-label", `${say.column_use} ${number || ""}`.trim());
      box.closest("[role=button]")?.removeAttribute("role");
    }
    for (const list of document.querySelectorAll("#chat .examples[role=list]")) list.removeAttribute("role");
    for (const file of document.querySelectorAll(".thumbnail-wrapper[role=listitem]")) set(file.parentElement, "role", "list");
    for (const button of document.querySelectorAll("button[aria-label='']")) button.setAttribute("aria-label", say.more);
  };
  let waiting = false;
  new MutationObserver(() => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => { waiting = false; label(); }, 100);
  }).observe(document.body, { childList: true, subtree: true });
  label();
}
