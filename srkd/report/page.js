(() => {
  "use strict";

  function sortable(table) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const key = (row, column) => {
      const cell = row.cells[column];
      return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent;
    };
    const isNumber = (value) => typeof value === "number";
    const order = (a, b) => isNumber(a) && isNumber(b) ? a - b : String(a).localeCompare(b, "en", {numeric: true});

    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        // Numbers start with the largest: in most columns that is what one looks for.
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const way = head.getAttribute("aria-sort") === first ? other : first;
        heads.forEach((h) => h.setAttribute("aria-sort", h === head ? way : "none"));
        const sign = way === "ascending" ? 1 : -1;
        // A missing number ("-") stays at the end either way.
        const missing = (value) => head.classList.contains("number") && !isNumber(value);
        body.append(...[...body.rows].sort((r, s) => {
          const a = key(r, column), b = key(s, column);
          return missing(a) - missing(b) || sign * order(a, b);
        }));
      });
    });
  }

  function comparable(figure) {
    const find = (selector) => figure.querySelector(selector);
    const viewport = find(".viewport"), divider = find(".divider"), slider = find("input");
    const zoom = find(".zoom"), stage = find(".stage"), over = find(".over-left");
    const pictures = figure.querySelectorAll(".strip img");

    function place() {
      const x = viewport.clientWidth * slider.value / 100;
      divider.style.left = x + "px";
      // The left picture is as large as the canvas: what is cut off depends on how far it is scrolled.
      over.style.clipPath = `inset(0 calc(100% - ${viewport.scrollLeft + x}px) 0 0)`;
    }
    function pick(side) {
      const picture = pictures[find(".pick-" + side).selectedIndex];
      find(".over-" + side).src = picture.src;
      find(".tag." + side).textContent = picture.alt;
    }
    function magnify() {
      const factor = parseInt(zoom.value), was = parseFloat(figure.style.getPropertyValue("--zoom")) || 1;
      const [w, h] = [viewport.clientWidth / 2, viewport.clientHeight / 2];
      const [x, y] = [(viewport.scrollLeft + w) / was, (viewport.scrollTop + h) / was];
      figure.style.setProperty("--zoom", factor);
      stage.classList.toggle("fits", factor === 1);
      viewport.scrollTo({left: x * factor - w, top: y * factor - h, behavior: "instant"});
      place();
    }
    function slideTo(event) {
      const box = viewport.getBoundingClientRect();
      slider.value = 100 * (event.clientX - box.left) / box.width;
      place();
    }
    function pan(event, last) {
      // A finger scrolls the viewport by itself.
      if (event.pointerType !== "mouse") return;
      viewport.scrollBy(last.clientX - event.clientX, last.clientY - event.clientY);
    }
    function drag(element, move) {
      let last = null;
      element.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        last = event;
        element.setPointerCapture(event.pointerId);
        move(event, event);
        event.preventDefault();
      });
      element.addEventListener("pointermove", (event) => {
        if (!last) return;
        move(event, last);
        last = event;
      });
      for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => { last = null; });
    }

    drag(divider, slideTo);
    drag(find(".canvas"), (event, last) => zoom.selectedIndex ? pan(event, last) : slideTo(event));
    slider.addEventListener("input", place);
    viewport.addEventListener("scroll", place);
    zoom.addEventListener("change", magnify);
    for (const side of ["left", "right"]) find(".pick-" + side).addEventListener("change", () => pick(side));
    find(".compare").hidden = false;
    pick("left");
    pick("right");
    magnify();
    new ResizeObserver(place).observe(viewport);
  }

  document.querySelectorAll("table").forEach(sortable);
  document.querySelectorAll(".crops").forEach(comparable);
})();
