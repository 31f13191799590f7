// Elements of the page: found by their id, and made.

export const byId = <T extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as T;

export function element(name: string, className: string, text = ""): HTMLElement {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

// A button that is named by its text, or where that is a sign, by its label.
export function button(className: string, text: string, onPress: () => void, label = ""): HTMLButtonElement {
  const made = element("button", className, text) as HTMLButtonElement;
  made.type = "button";
  if (label) {
    made.setAttribute("aria-label", label);
    made.title = label;
  }
  made.addEventListener("click", onPress);
  return made;
}

export const press = (made: Element, isPressed: boolean) => made.setAttribute("aria-pressed", String(isPressed));

export const formatCount = (count: number) => count.toLocaleString("en");

export const formatLength = (length: number) => String(Number(length.toPrecision(3)));

export const toCss = (color: number[]) => `rgb(${color.map((value) => Math.round(255 * value)).join(",")})`;

export const toHex = (color: number[]) =>
  `#${color.map((value) => Math.round(255 * Math.min(Math.max(value, 0), 1)).toString(16).padStart(2, "0")).join("")}`;

export const fromHex = (hex: string) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);

// A swatch that opens the browser's choice of colours.
export function colorInput(color: number[], label: string, choose: (color: number[]) => void): HTMLInputElement {
  const input = document.createElement("input");
  input.type = "color";
  input.className = "swatch";
  input.value = toHex(color);
  input.setAttribute("aria-label", label);
  input.title = label;
  input.addEventListener("change", () => choose(fromHex(input.value)));
  return input;
}

export function svgElement(name: string, attributes: Record<string, string>): SVGElement {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Buttons of which one is pressed; returns what shows which.
export function segments<Name extends string>(
  root: HTMLElement,
  names: readonly Name[],
  choose: (name: Name) => void,
  labels: Partial<Record<Name, string>> = {},
): (chosen: Name) => void {
  root.classList.add("segments");
  const buttons = names.map((name) => {
    const made = button("", name, () => choose(name), labels[name]);
    made.value = name;
    return made;
  });
  root.replaceChildren(...buttons);
  return (chosen) => buttons.forEach((made) => press(made, made.value === chosen));
}
