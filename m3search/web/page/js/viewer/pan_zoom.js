// Moving and enlarging what a stage shows: wheel, drag, pinch, double click and keys.

const STEP = 1.25;
const STRIDE = 60; // px that an arrow key moves

export class PanZoom {
  /**
   * @param stage the element that shows the content and takes the keys
   * @param size {width, height} of the content, in its own pixels
   * @param onchange called after each change; reads `scale` (stage px per content pixel), `left` and `top` (the content
   *   pixel in the stage's corner)
   * @param wheel whether the wheel alone zooms; else only with Ctrl, as a pinch on a touchpad says it
   */
  constructor(stage, size, onchange, { wheel = true, most = 8 } = {}) {
    Object.assign(this, { stage, size, onchange, wheel, most, scale: 1, left: 0, top: 0, fitted: true });
    this.pointers = new Map();
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, (event) => this.pointers.delete(event.pointerId));
    stage.addEventListener("dblclick", (event) => (this.fitted ? this.zoom(2.5, this.#at(event)) : this.fit()));
    stage.addEventListener("keydown", (event) => this.#key(event));
    this.resized = new ResizeObserver(() => (this.fitted ? this.fit() : this.#settle()));
    this.resized.observe(stage);
  }

  get smallest() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    return Math.min(width / this.size.width, height / this.size.height) || 1;
  }

  /** How much larger than fitted. */
  get enlarged() {
    return this.scale / this.smallest;
  }

  fit() {
    this.scale = this.smallest;
    this.#settle();
  }

  /** Enlarges around a point of the stage; its middle by default. */
  zoom(factor, at = { x: this.stage.clientWidth / 2, y: this.stage.clientHeight / 2 }) {
    const scale = Math.min(Math.max(this.scale * factor, this.smallest), Math.max(this.most, this.smallest * 4));
    this.left += at.x / this.scale - at.x / scale;
    this.top += at.y / this.scale - at.y / scale;
    this.scale = scale;
    this.#settle();
  }

  /** Shows a box of the content, with some of its surroundings. */
  show({ x, y, width, height }, around = 2.5) {
    const { clientWidth, clientHeight } = this.stage;
    this.scale = Math.max(Math.min(clientWidth / width, clientHeight / height) / around, this.smallest);
    this.left = x + width / 2 - clientWidth / 2 / this.scale;
    this.top = y + height / 2 - clientHeight / 2 / this.scale;
    this.#settle();
  }

  stop() {
    this.resized.disconnect();
  }

  /** Keeps the content in the stage; in the middle where there is room. */
  #settle() {
    this.scale = Math.max(this.scale, this.smallest);
    this.fitted = this.scale <= this.smallest * 1.001;
    this.left = held(this.left, this.size.width, this.stage.clientWidth / this.scale);
    this.top = held(this.top, this.size.height, this.stage.clientHeight / this.scale);
    this.stage.classList.toggle("enlarged", !this.fitted);
    this.onchange();
  }

  #at(event) {
    const box = this.stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  #wheel(event) {
    if (!this.wheel && !event.ctrlKey) return;
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)), this.#at(event));
  }

  #down(event) {
    if (event.button !== 0 || event.target.closest("button, input, a")) return;
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#at(event));
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#at(event);
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (one) => Math.hypot(one.x - other.x, one.y - other.y);
      this.zoom(apart(now) / Math.max(apart(before), 1), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    } else {
      this.#by(before.x - now.x, before.y - now.y);
    }
    this.pointers.set(event.pointerId, now);
  }

  #by(x, y) {
    this.left += x / this.scale;
    this.top += y / this.scale;
    this.#settle();
  }

  #key(event) {
    if (event.target !== this.stage || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "+" || event.key === "=") this.zoom(STEP);
    else if (event.key === "-") this.zoom(1 / STEP);
    else if (event.key === "0") this.fit();
    else if (moves[event.key] && !this.fitted) this.#by(...moves[event.key].map((way) => way * STRIDE));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

const held = (start, length, shown) =>
  shown >= length ? (length - shown) / 2 : Math.min(Math.max(start, 0), length - shown);
