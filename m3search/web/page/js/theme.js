// Runs before anything is painted, so that a dark page does not flash white. "" follows the system.
const THEME_KEY = "m3search-theme";

function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

try {
  applyTheme(localStorage.getItem(THEME_KEY) || "");
} catch {
  // storage may be forbidden: then the system decides
}

document.addEventListener("DOMContentLoaded", () => {
  document.getElementById("theme").addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    const theme = dark ? "light" : "dark";
    applyTheme(theme);
    document.dispatchEvent(new CustomEvent("theme", { detail: theme }));
    try {
      localStorage.setItem(THEME_KEY, theme);
    } catch {
      // as above
    }
  });
});
