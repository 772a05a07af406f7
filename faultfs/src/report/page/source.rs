//! Lines of the engine's source around a call site.

use std::path::{Path, PathBuf};

use maud::{Markup, html};

use crate::trace::Site;

/// Lines shown before and behind the line of the call.
const AROUND: usize = 3;

/// The lines around a call site; nothing where the file is not found.
pub(super) fn excerpt(site: &Site) -> Markup {
    let text = find(Path::new(&*site.file)).and_then(|path| std::fs::read_to_string(path).ok());
    let Some(text) = text else { return Markup::default() };
    let line = site.line as usize;
    let lines: Vec<(usize, &str)> = (1..).zip(text.lines()).collect();
    let first = line.saturating_sub(AROUND + 1).min(lines.len());
    let shown = &lines[first..(line + AROUND).min(lines.len())];
    html! {
        figure.source {
            figcaption { code { (site) } }
            pre tabindex="0" aria-label={ "source around " (site) } {
                @for (number, code) in shown {
                    @if *number == line {
                        mark { (format!("▶ {number:>5}  {code}")) } "\n"
                    } @else {
                        (format!("  {number:>5}  {code}")) "\n"
                    }
                }
            }
        }
    }
}

/// The compiler names files from the folder of the workspace, tests run in that of their package.
fn find(file: &Path) -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    here.ancestors().map(|dir| dir.join(file)).find(|path| path.is_file())
}
