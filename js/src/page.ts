import { mountAll, type Saved } from "./host";
import widget from "./widget";

const source = document.getElementById("pw-state");
if (source) mountAll(JSON.parse(source.textContent ?? "[]") as Saved[], widget as never);
