//! Pages of lists: a window asked for, a page given back. Never an OFFSET.

/// Part of a list that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Most rows to answer, 1 to 200.
    pub limit: u32,
    /// Key of the last row already seen.
    pub after: Option<String>,
}

impl Window {
    /// Most rows a window may ask for.
    pub const LIMIT_MAX: u32 = 200;
    /// Rows when nothing is asked.
    pub const LIMIT_DEFAULT: u32 = 50;

    /// How many rows to read: one more than asked tells whether there is a next page.
    pub fn probe(&self) -> u32 {
        self.limit.saturating_add(1)
    }
}

/// Part of a list that is given.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows, in list order.
    pub rows: Vec<T>,
    /// Key to continue after; `None` at the end.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Cuts `rows` (read with [`Window::probe`]) to the window and finds the key to continue after.
    pub fn cut(mut rows: Vec<T>, window: &Window, key: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(window.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(key) } else { None };
        Self { rows, next }
    }

    /// The same page with each row turned into something else.
    pub fn map<U>(self, turn: impl Fn(T) -> U) -> Page<U> {
        Page { rows: self.rows.into_iter().map(turn).collect(), next: self.next }
    }
}
