// @ts-check
// The same picture of an attribution that stands by itself, in a page of its own.

import { h } from "../../core/dom.js";
import { rebuilt } from "../../core/tables.js";
import { Attribution } from "../../data/attribution.js";
import { WhyPicture } from "./why_picture.js";
import { wordsOf, numbersOf } from "./why_numbers.js";

/** @param {import("../../data/record.js").ServedView} served @param {() => import("../../data/record.js").ServedRecord["data"]} find @returns {import("../../data/view.js").View} */
export function servedWhy(served, find) {
  /** @type {{data: any, found: Attribution} | null} */
  let last = null;
  const found = () => {
    const data = find();
    if (data && last?.data !== data) last = { data, found: new Attribution(data.about, data.tensors) };
    return data ? last?.found ?? null : null;
  };
  return {
    id: served.name, title: served.title, lead: rebuilt(served.lead), more: rebuilt(served.more),
    create: (body) => {
      const [said, picture] = [h("p", { class: "ts-headline" }), new WhyPicture()];
      body.append(said, picture.element);
      return {
        draw: ({ colours }) => {
          const now = found();
          if (!now) return;
          said.replaceChildren(...wordsOf(now).filter((each) => each).map((each) => /** @type {Node | string} */ (each)));
          picture.draw(now, colours);
        },
        numbers: () => numbersOf(found()),
      };
    },
  };
}
