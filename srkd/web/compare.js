// Two images of one scene under a divider, with zoom. `new Compare(element)`, then `show({...})`.

const PARTS = `
  <div class="tools">
    <div class="about"><b></b><span class="soft small numbers"></span></div>
    <div class="zooms" role="group" aria-label="Zoom">
      <button type="button" data-zoom="fit" aria-pressed="true">Fit</button>
      <button type="button" data-zoom="1">100 %</button>
      <button type="button" data-zoom="2">200 %</button>
      <button type="button" data-zoom="4">400 %</button>
    </div>
    <div class="zooms"><button type="button" class="sharp" aria-pressed="false"
      title="Show the pixels of the input instead of smoothing them">Input pixels</button></div>
    <div class="more"></div>
  </div>
  <div class="stage">
    <div class="viewport" tabindex="0" role="group" aria-label="Image: arrow keys scroll, plus and minus zoom">
      <div class="canvas"><img class="after" alt=""><img class="before" alt=""></div>
    </div>
    <div class="divider" role="slider" tabindex="0" aria-label="Divider between before and after"
         aria-valuemin="0" aria-valuemax="100"></div>
    <span class="tag left" aria-hidden="true">before</span><span class="tag right" aria-hidden="true">after</span>
    <p class="message" hidden></p>
  </div>`;
const LARGEST = 16;
const STEPS = [0.125, 0.25, 0.5, 1, 2, 4, 8, 16];

export class Compare {
  // `more` is an element for further tools, such as a link to the file.
  constructor(root, more) {
    root.classList.add("compare");
    root.innerHTML = PARTS;
    const find = (selector) => root.querySelector(selector);
    Object.assign(this, {root, viewport: find(".viewport"), canvas: find(".canvas"), divider: find(".divider")});
    Object.assign(this, {before: find(".before"), after: find(".after"), message: find(".message"), sharp: find(".sharp")});
    Object.assign(this, {name: find(".about b"), about: find(".about span"), zooms: [...root.querySelectorAll("[data-zoom]")]});
    if (more) find(".more").append(more);
    this.width = this.height = 0;
    this.share = 0.5;  // of the viewport's width, left of the divider
    this.zoom = "fit";
    this.listen();
    this.place();
  }

  // Show two images: addresses `before` and `after`, `width` and `height` of the after image in pixels.
  show({name, about, before, after, width, height}) {
    const same = this.after.getAttribute("src") === after;
    this.name.textContent = name;
    this.name.title = name;
    this.about.textContent = about;
    if (same) return;
    Object.assign(this, {width, height});
    this.message.hidden = true;
    this.canvas.hidden = false;
    this.before.src = before;
    this.after.src = after;
    this.before.alt = `${name} before`;
    this.after.alt = `${name} after`;
    this.setZoom("fit");
  }

  fail(text) {
    this.message.textContent = text;
    this.message.hidden = false;
    this.canvas.hidden = true;
  }

  get fitting() {
    const across = this.viewport.clientWidth / this.natural(this.width);
    const down = this.viewport.clientHeight / this.natural(this.height);
    return Math.max(Math.min(across, down, 4), 0.001) || 1;
  }

  get factor() { return this.zoom === "fit" ? this.fitting : this.zoom; }

  natural(pixels) { return pixels / (window.devicePixelRatio || 1); }

  // Zoom so that the point (x, y) of the viewport, by default its centre, stays where it is.
  setZoom(zoom, x = this.viewport.clientWidth / 2, y = this.viewport.clientHeight / 2) {
    const {viewport, canvas} = this;
    const was = canvas.clientWidth || 1;
    const [atX, atY] = [viewport.scrollLeft + x - canvas.offsetLeft, viewport.scrollTop + y - canvas.offsetTop];
    this.zoom = zoom === "fit" ? zoom : Math.min(LARGEST, Math.max(zoom, Math.min(this.fitting, 0.125)));
    canvas.style.width = this.natural(this.width) * this.factor + "px";
    canvas.style.height = this.natural(this.height) * this.factor + "px";
    const ratio = (canvas.clientWidth || 1) / was;
    viewport.scrollTo({left: atX * ratio - x + canvas.offsetLeft, top: atY * ratio - y + canvas.offsetTop, behavior: "instant"});
    this.root.classList.toggle("close", this.factor >= 2);
    for (const button of this.zooms) {
      const own = button.dataset.zoom === "fit" ? "fit" : Number(button.dataset.zoom);
      button.setAttribute("aria-pressed", String(own === this.zoom));
    }
    this.place();
  }

  // One step of zoom in (+1) or out (-1).
  step(direction, x, y) {
    const now = this.factor;
    const next = direction > 0 ? STEPS.find((step) => step > now * 1.01) : STEPS.findLast((step) => step < now / 1.01);
    if (next) this.setZoom(next, x, y);
  }

  place() {
    const x = this.viewport.clientWidth * this.share;
    this.divider.style.left = x + "px";
    const cut = Math.min(Math.max(this.viewport.scrollLeft + x - this.canvas.offsetLeft, 0), this.canvas.clientWidth);
    this.before.style.clipPath = `inset(0 calc(100% - ${cut}px) 0 0)`;
    this.divider.setAttribute("aria-valuenow", Math.round(100 * this.share));
    this.divider.setAttribute("aria-valuetext", `${Math.round(100 * this.share)} % before`);
  }

  slide(share) {
    this.share = Math.min(Math.max(share, 0), 1);
    this.place();
  }

  get overflows() {
    const {viewport} = this;
    return viewport.scrollWidth > viewport.clientWidth + 1 || viewport.scrollHeight > viewport.clientHeight + 1;
  }

  listen() {
    const {viewport, divider} = this;
    for (const button of this.zooms) {
      const own = button.dataset.zoom;
      button.addEventListener("click", () => this.setZoom(own === "fit" ? own : Number(own)));
    }
    this.sharp.addEventListener("click", () => {
      const on = this.root.classList.toggle("pixels");
      this.sharp.setAttribute("aria-pressed", String(on));
    });
    for (const image of [this.before, this.after]) {
      image.addEventListener("error", () => image.getAttribute("src") && this.fail("This image cannot be shown here; download it instead."));
    }
    viewport.addEventListener("scroll", () => this.place());
    new ResizeObserver(() => this.setZoom(this.zoom)).observe(viewport);
    this.listenToPointers();
    this.listenToTouch();
    divider.addEventListener("keydown", (event) => {
      const to = {ArrowLeft: this.share - 0.02, ArrowRight: this.share + 0.02, PageDown: this.share - 0.1,
                  PageUp: this.share + 0.1, Home: 0, End: 1}[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.slide(to);
    });
    this.root.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "+" || event.key === "=") this.step(1);
      else if (event.key === "-") this.step(-1);
      else if (event.key === "0") this.setZoom("fit");
      else return;
      event.preventDefault();
    });
    viewport.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;  // also the pinch of a touch pad
      event.preventDefault();
      const box = viewport.getBoundingClientRect();
      this.setZoom(this.factor * Math.exp(-event.deltaY / 200), event.clientX - box.left, event.clientY - box.top);
    }, {passive: false});
    viewport.addEventListener("dblclick", (event) => {
      const box = viewport.getBoundingClientRect();
      this.setZoom(this.zoom === "fit" ? 1 : "fit", event.clientX - box.left, event.clientY - box.top);
    });
  }

  listenToPointers() {
    const share = (event) => {
      const box = this.viewport.getBoundingClientRect();
      return (event.clientX - box.left) / box.width;
    };
    drag(this.divider, (event) => this.slide(share(event)));
    drag(this.viewport, (event, last) => {
      if (!this.overflows) return this.slide(share(event));
      // A finger scrolls the viewport by itself.
      if (event.pointerType === "mouse") this.viewport.scrollBy(last.clientX - event.clientX, last.clientY - event.clientY);
    });
  }

  listenToTouch() {
    let start = null;
    const spread = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    this.viewport.addEventListener("touchstart", (event) => {
      start = event.touches.length === 2 ? {spread: spread(event.touches), factor: this.factor} : null;
    }, {passive: true});
    this.viewport.addEventListener("touchmove", (event) => {
      if (!start || event.touches.length !== 2) return;
      event.preventDefault();
      const box = this.viewport.getBoundingClientRect(), [a, b] = event.touches;
      const middle = [(a.clientX + b.clientX) / 2 - box.left, (a.clientY + b.clientY) / 2 - box.top];
      this.setZoom(start.factor * spread(event.touches) / start.spread, ...middle);
    }, {passive: false});
  }
}

function drag(element, move) {
  let last = null;
  element.addEventListener("pointerdown", (event) => {
    if (event.button || (event.pointerType !== "mouse" && element.classList.contains("viewport"))) return;
    last = event;
    element.setPointerCapture(event.pointerId);
    move(event, event);
    event.preventDefault();
    element.focus({preventScroll: true, focusVisible: false});
  });
  element.addEventListener("pointermove", (event) => {
    if (!last) return;
    move(event, last);
    last = event;
  });
  for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => { last = null; });
}
