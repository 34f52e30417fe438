// What the theme leaves out for people without a mouse or without a screen.

// Its search dialog has no name.
document.querySelector(".md-search[role=dialog]")?.setAttribute("aria-label", "Search");

// Wide tables scroll sideways: by keyboard, too. The theme puts them into such boxes when it starts.
window.addEventListener("load", () => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap")) box.tabIndex = 0;
});
