/** Give `take` a FileList of what is chosen with `input`, pasted, or dropped anywhere on the page. */
export function receiveFiles(input, take) {
  input.addEventListener("change", () => { take(input.files); input.value = ""; });
  addEventListener("paste", (event) => event.clipboardData.files.length && take(event.clipboardData.files));
  let depth = 0;  // dragenter and dragleave come for every element passed
  const dragging = (by) => { depth = Math.max(0, depth + by); document.body.classList.toggle("dragging", depth > 0); };
  addEventListener("dragenter", () => dragging(1));
  addEventListener("dragleave", () => dragging(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    dragging(-depth);
    take(event.dataTransfer.files);
  });
}
