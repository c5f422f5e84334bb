// A box that is dragged in the picture: gradio runs this once, with `trigger`, which sends the box to Events.draw as shares
// of the picture's sides: [x, y, x, y] of the corners where the drag began and ended. A click without a drag stays a click.
const SMALLEST = 6;  // pixels of the screen; a hand that clicks moves a little
let start = null, frame = null, dragged = false;

// Where an event is in the picture; gradio shows it as large as fits, in the middle of the element.
const place = (event, image) => {
  const box = image.getBoundingClientRect();
  const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
  const width = scale * image.naturalWidth, height = scale * image.naturalHeight;
  const share = (at, low, whole, part) => Math.min(Math.max((at - low - (whole - part) / 2) / part, 0), 1);
  return [share(event.clientX, box.left, box.width, width), share(event.clientY, box.top, box.height, height)];
};

const end = () => {
  frame?.remove();
  start = frame = null;
};

document.addEventListener("pointerdown", event => {
  dragged = false;
  const image = event.target.closest("#picture img");
  if (image && !event.button) start = {image, x: event.clientX, y: event.clientY, corner: place(event, image)};
});
document.addEventListener("dragstart", event => {
  if (start) event.preventDefault();  // the browser's own way to drag an image
});
document.addEventListener("pointermove", event => {
  if (!start) return;
  const width = Math.abs(event.clientX - start.x), height = Math.abs(event.clientY - start.y);
  dragged ||= Math.max(width, height) >= SMALLEST;
  if (!dragged) return;
  frame ||= document.body.appendChild(document.createElement("div"));
  Object.assign(frame.style, {
    position: "fixed", border: "2px solid #ff9100", pointerEvents: "none", zIndex: 99, boxSizing: "border-box",
    left: `${Math.min(event.clientX, start.x)}px`, top: `${Math.min(event.clientY, start.y)}px`,
    width: `${width}px`, height: `${height}px`,
  });
});
document.addEventListener("pointerup", event => {
  if (start && dragged) trigger("input", {box: [...start.corner, ...place(event, start.image)]});
  end();
});
document.addEventListener("pointercancel", end);
// The click that follows a drag would pick a detection.
document.addEventListener("click", event => {
  if (dragged && event.target.closest("#picture")) event.stopPropagation();
  dragged = false;
}, true);
