// Of every page: times in the reader's own zone.
import { showTimes } from "./show.js";

document.documentElement.classList.add("js");
showTimes(document);
