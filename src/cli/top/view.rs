//! Drawing.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Paragraph, Row, Table, TableState};

use super::plain;
use super::screen::Screen;

/// Draws everything.
pub(super) fn draw(screen: &Screen, frame: &mut Frame<'_>) {
    let head = head(screen);
    let height = u16::try_from(head.lines.len()).unwrap_or(u16::MAX);
    let [above, table, below] =
        Layout::vertical([Constraint::Length(height), Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(Paragraph::new(head), above);
    let names = Row::new(plain::COLUMNS.map(|(name, _)| name)).style(Style::new().add_modifier(Modifier::REVERSED));
    let calls = screen.latest().map(|look| look.calls.as_slice()).unwrap_or_default();
    let rows = calls.iter().map(|call| {
        let is_hurt = call.underruns > 0 || call.failovers > 0;
        Row::new(plain::cells(call)).style(if is_hurt { Style::new().fg(Color::Yellow) } else { Style::new() })
    });
    let widths = plain::COLUMNS.map(|(_, width)| Constraint::Length(width));
    let widget =
        Table::new(rows, widths).header(names).row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(screen.place());
    frame.render_stateful_widget(widget, table, &mut state);
    let keys = format!("q quit   s sort: {}   up, down select", screen.sort.name());
    frame.render_widget(Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM)), below);
}

fn head(screen: &Screen) -> Text<'static> {
    let mut lines: Vec<Line<'static>> = match screen.latest() {
        Some(look) => plain::head(look, screen.before()).into_iter().map(Line::from).collect(),
        None => vec![Line::from("waiting for the gateway")],
    };
    let bad = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
    if let Some(trouble) = &screen.trouble {
        let stale = if screen.latest().is_some() { "; below is what it told last" } else { "" };
        lines.insert(0, Line::styled(format!("{trouble}{stale}"), bad));
    }
    if let Some(selected) = &screen.selected {
        // In full, so that it can be copied.
        lines.push(Line::from(format!("call {selected}")));
    }
    lines.push(Line::default());
    Text::from(lines)
}
