// Names for screen readers on what Gradio draws without them: photos, the table's check boxes, lists of buttons; the
// page's language, technical terms as tooltips, and the one text that Gradio does not translate. And the finding under the pointer, or with the
// keyboard's focus, lit up in the photo. And photos that are dropped or pasted anywhere on the page. And boxes that are
// drawn on the photo to correct its findings.
() => {
  const language = navigator.language.slice(0, 2) in TEXTS ? navigator.language.slice(0, 2) : "en";
  const say = TEXTS[language];
  document.documentElement.lang = language;
  const set = (element, name, value) => { if (element && element.getAttribute(name) !== value) element.setAttribute(name, value); };
  const PLAIN = ".lav2-experts b, .lav2-table .header-cell, .lav2-table .body-cell, [data-testid=block-info], label > span,"
    + " .label-wrap > span:first-child, .lav2-title";
  // With the change that brings an element: a screen reader meets none without its name.
  const giveNames = () => {
    for (const image of document.querySelectorAll("#chat .message img, .lav2-photo img")) {
      const text = image.closest(".lav2-photo") ? say.photo : say.photo_sent;
      set(image, "alt", text);
      set(image.closest("button"), "aria-label", text);
    }
    for (const box of document.querySelectorAll(".lav2-table input[type=checkbox]")) {
      const cell = box.closest("[data-testid^=cell-]");
      const row = cell && box.closest("[role=row]");
      const number = row ? [...row.querySelectorAll("[data-testid^=cell-]")][1]?.textContent.trim() : "";
      set(box, "aria-label", `${say.column_use} ${number || ""}`.trim());
      box.closest("[role=button]")?.removeAttribute("role");
    }
    for (const file of document.querySelectorAll(".thumbnail-wrapper")) { // a list may hold no button, and this one does
      set(file, "role", "group");
      set(file.parentElement, "role", "group");
    }
    for (const title of document.querySelectorAll("#chat .thought-group .title")) { // one button, not one inside another
      for (const name of ["role", "tabindex"]) title.removeAttribute(name);
      const arrow = title.querySelector("button");
      set(arrow, "aria-label", title.querySelector(".md")?.textContent.trim() || say.more);
      set(arrow, "aria-expanded", String(title.classList.contains("expanded")));
    }
    for (const more of document.querySelectorAll(".icon-button:has(> div .upload-container)")) { // two again, with no name
      const inner = more.querySelector(".upload-container");
      for (const name of ["aria-label", "title"]) set(more, name, say.many_more);
      if (inner.inert) continue;
      inner.inert = true;
      more.addEventListener("click", (event) => { if (event.isTrusted) inner.click(); });
    }
    for (const image of document.querySelectorAll("footer img")) set(image, "alt", ""); // its name stands beside it
    for (const button of document.querySelectorAll("button[aria-label='']")) button.setAttribute("aria-label", say.more);
  };
  let asked = 0, following = false;
  const label = () => {
    giveNames(); // again: what an element says may come after it
    for (const text of document.querySelectorAll(".lav2-examples .gallery-item p")) {
      const own = say.examples[text.innerText.trim()];
      if (own && own !== text.innerText.trim()) text.innerText = own;
    }
    for (const plain of document.querySelectorAll(PLAIN)) { // plain words; the technical term is a tooltip
      const term = say.terms[plain.innerText.trim()];
      if (term) set(plain, "title", term); // also where Gradio says the word itself once more, sooner or later
    }
    const questions = document.querySelectorAll("#chat .user-row").length;
    const log = document.querySelector("#chat [role=log]");
    // Gradio stays where one has scrolled up, and behind what comes in one piece: a question is followed to its answer's
    // end, unless the reader goes elsewhere in the conversation meanwhile.
    if (questions > asked) following = true;
    if (log && following) log.scrollTop = log.scrollHeight;
    const answering = [...document.querySelectorAll("button.stop-button")].some((button) => button.checkVisibility());
    following &&= answering;
    asked = questions;
  };
  // The page is shown (style.css) once what the browser kept is back, its photo is there, and nothing grows any more.
  const photoThere = () => [...document.querySelectorAll("#evidence .lav2-photo img")].every((image) => image.complete);
  const show = (height) => {
    const now = "restored" in document.body.dataset && document.querySelector("#examples .gallery-item") && photoThere()
      ? document.querySelector(".gradio-container").scrollHeight : -1;
    if (now <= 0 || now !== height) return setTimeout(() => (window.requestIdleCallback ?? setTimeout)(() => show(now)), 60);
    document.body.classList.add("lav2-ready");
    label(); // which sees no text that is hidden
  };
  show(-1);
  // What is dropped beside a place for files would be opened by the browser, in place of the page.
  document.body.dataset.drop = say.drop;
  const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const takes = (event) => event.target.closest?.(".multimodal-textbox, [aria-dropeffect]");
  const attach = (files) => {
    const input = [...document.querySelectorAll(".multimodal-textbox")].find((box) => box.checkVisibility())
      ?.querySelector("input[type=file]");
    if (!input || !files.length) return;
    const given = new DataTransfer();
    for (const file of files) given.items.add(file);
    input.files = given.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const over = (event, on) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    document.body.classList.toggle("lav2-dropping", on && !takes(event));
  };
  document.addEventListener("dragenter", (event) => over(event, true));
  document.addEventListener("dragover", (event) => over(event, true));
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) over(event, false); });
  document.addEventListener("drop", (event) => {
    over(event, false);
    if (carriesFiles(event) && !takes(event)) attach([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    if (!files.length || event.target.closest?.("textarea, input")) return; // Gradio's box takes its own
    event.preventDefault();
    attach(files);
  });
  const SVG = "http://www.w3.org/2000/svg";
  const dark = () => document.querySelectorAll(".lav2-spot").forEach((spot) => spot.remove());
  const light = (event) => {
    dark();
    // Where focus scrolls the page, the resting pointer comes over something else: the focused finding stays lit.
    const focused = document.activeElement.matches(":focus-visible") ? document.activeElement : null;
    const row = [event.target, focused].map((at) => at?.closest?.(".lav2-table [role=row]")).find(Boolean);
    const panel = row?.closest(".lav2-panel");
    const image = panel?.querySelector(".lav2-photo img");
    const list = panel?.querySelector(".lav2-experts[data-places]");
    if (!image?.naturalWidth || !list) return;
    const cells = [...row.querySelectorAll("[data-testid^=cell-]")];
    const number = cells.map((cell) => cell.innerText.trim().match(/^\d+/)?.[0]).find(Boolean);
    const corners = JSON.parse(list.dataset.places)[number];
    if (!corners) return;
    // The picture's own rectangle inside the element: object-fit leaves room beside or above it.
    const scale = Math.min(image.clientWidth / image.naturalWidth, image.clientHeight / image.naturalHeight);
    const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
    const frame = image.parentElement, inside = image.getBoundingClientRect(), outside = frame.getBoundingClientRect();
    const left = inside.left - outside.left + (image.clientWidth - width) / 2;
    const top = inside.top - outside.top + (image.clientHeight - height) / 2;
    if (getComputedStyle(frame).position === "static") frame.style.position = "relative";
    const spot = document.createElementNS(SVG, "svg");
    spot.setAttribute("class", "lav2-spot");
    spot.setAttribute("aria-hidden", "true");
    spot.dataset.number = number;
    spot.style.cssText = `left:${left}px;top:${top}px;width:${width}px;height:${height}px`;
    spot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const shape = `M${corners.map(([x, y]) => `${(x * width).toFixed(1)} ${(y * height).toFixed(1)}`).join("L")}Z`;
    for (const [kind, path] of [["shade", `M0 0H${width}V${height}H0Z${shape}`], ["outline", shape]]) {
      const drawn = document.createElementNS(SVG, "path");
      drawn.setAttribute("class", kind);
      drawn.setAttribute("d", path);
      spot.append(drawn);
    }
    frame.append(spot);
  };
  // Corrections: the link under the answer opens their form; a box is drawn on the photo while the form is open.
  const fold = () => document.querySelector("#fix .label-wrap");
  const fixing = () => fold()?.classList.contains("open") && fold().checkVisibility();
  let wanted = false; // the form was asked for, and its panel may still be on its way
  const openForm = () => {
    if (!wanted || !fold()?.checkVisibility()) return;
    wanted = false;
    if (!fixing()) fold().click();
    setTimeout(() => document.querySelector("#fix-text :is(input, textarea)")?.focus({ preventScroll: true }), 100);
  };
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.(".lav2-fix-link")) return;
    wanted = true;
    openForm();
  });
  const shares = (event, image) => { // of the picture inside the element, in %
    const whole = image.getBoundingClientRect();
    const scale = Math.min(image.clientWidth / image.naturalWidth, image.clientHeight / image.naturalHeight);
    return [["clientX", whole.left, whole.width, image.naturalWidth], ["clientY", whole.top, whole.height, image.naturalHeight]]
      .map(([at, start, length, natural]) => (event[at] - start - (length - natural * scale) / 2) / (natural * scale))
      .map((share) => Math.round(1000 * Math.min(1, Math.max(0, share))) / 10);
  };
  let drawing = null;
  const drawn = (event) => {
    const [x, y] = shares(event, drawing.image);
    const [left, right] = [drawing.from[0], x].sort((a, b) => a - b), [top, bottom] = [drawing.from[1], y].sort((a, b) => a - b);
    const whole = drawing.image.getBoundingClientRect(), frame = drawing.box.parentElement.getBoundingClientRect();
    const scale = Math.min(drawing.image.clientWidth / drawing.image.naturalWidth, drawing.image.clientHeight / drawing.image.naturalHeight);
    const [width, height] = [drawing.image.naturalWidth * scale, drawing.image.naturalHeight * scale];
    drawing.box.style.cssText = `left:${whole.left - frame.left + (whole.width - width) / 2 + left * width / 100}px;`
      + `top:${whole.top - frame.top + (whole.height - height) / 2 + top * height / 100}px;`
      + `width:${(right - left) * width / 100}px;height:${(bottom - top) * height / 100}px`;
    return right - left > 1 && bottom - top > 1 ? [left, top, right, bottom] : null;
  };
  document.addEventListener("pointerdown", (event) => {
    const image = event.target.closest?.("#evidence .lav2-photo")?.querySelector("img");
    if (!image?.naturalWidth || event.button || !fixing() || event.target.closest("button:not(:has(img))")) return;
    event.preventDefault();
    dark();
    document.querySelectorAll(".lav2-drawn").forEach((box) => box.remove());
    const box = document.createElement("div");
    box.className = "lav2-drawn";
    if (getComputedStyle(image.parentElement).position === "static") image.parentElement.style.position = "relative";
    image.parentElement.append(box);
    drawing = { image, box, from: shares(event, image) };
  });
  document.addEventListener("pointermove", (event) => { if (drawing) drawn(event); });
  document.addEventListener("pointerup", (event) => {
    if (!drawing) return;
    const corners = drawn(event), field = document.querySelector("#fix-corners :is(input, textarea)");
    if (!corners) drawing.box.remove();
    drawing = null;
    if (!corners || !field) return;
    field.value = corners.join(", ");
    field.dispatchEvent(new Event("input", { bubbles: true }));
    document.querySelector("#fix-text :is(input, textarea)")?.focus({ preventScroll: true });
  });
  document.addEventListener("pointercancel", () => { drawing?.box.remove(); drawing = null; });
  document.addEventListener("load", (event) => { // another picture: what was drawn is on it, or of another photo
    if (event.target.closest?.(".lav2-photo")) document.querySelectorAll(".lav2-drawn").forEach((box) => box.remove());
  }, true);
  document.addEventListener("pointerover", light);
  document.addEventListener("focusin", light);
  for (const kind of ["wheel", "touchmove", "pointerdown", "keydown", "focusin"])
    document.addEventListener(kind, (event) => { if (event.target.closest?.("#chat")) following = false; }, { passive: true });
  let waiting = false;
  new MutationObserver(() => {
    giveNames();
    if (waiting) return;
    waiting = true;
    setTimeout(() => { waiting = false; label(); openForm(); }, 100);
  }).observe(document.body, { childList: true, subtree: true });
  label();
}
