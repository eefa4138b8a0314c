//! Matrix products on strided views, through the `gemm` crate called directly: any layout, any part of a
//! larger matrix, set or added, without a zeroed or copied result.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::simd::made;

/// Products smaller than this many multiplications are not worth more than one thread.
const PARALLEL_FROM: usize = 96 * 96 * 96;

/// A matrix that is read.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    view: View,
    values: PhantomData<&'a [f32]>,
}

/// A matrix that is written.
pub struct MatrixMut<'a> {
    view: View,
    values: PhantomData<&'a mut [f32]>,
}

/// How a product is taken.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    write: Write,
    scale: f32,
    threads: Threads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Set,
    Add,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Threads {
    One,
    All,
}

impl Product {
    /// Replaces what is there, on all of rayon's threads.
    pub const SET: Self = Self { write: Write::Set, scale: 1.0, threads: Threads::All };
    /// Is added to what is there, on all of rayon's threads.
    pub const ADD: Self = Self { write: Write::Add, scale: 1.0, threads: Threads::All };

    /// Times `scale`.
    #[must_use]
    pub const fn scaled(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// On the calling thread: the caller takes products side by side.
    #[must_use]
    pub const fn alone(self) -> Self {
        Self { threads: Threads::One, ..self }
    }
}

#[derive(Clone, Copy)]
struct View {
    start: *mut f32,
    n_rows: usize,
    n_cols: usize,
    row_stride: isize,
    col_stride: isize,
}

// SAFETY: a `Matrix` is a shared slice and a `MatrixMut` an exclusive one, seen through strides; `f32` is Send
// and Sync.
unsafe impl Send for Matrix<'_> {}
// SAFETY: as above.
unsafe impl Sync for Matrix<'_> {}
// SAFETY: as above.
unsafe impl Send for MatrixMut<'_> {}
// SAFETY: as above; through `&MatrixMut` nothing is read or written without a further promise.
unsafe impl Sync for MatrixMut<'_> {}

impl View {
    fn row_major(start: *mut f32, len: usize, n_rows: usize, n_cols: usize) -> Self {
        assert_eq!(len, n_rows * n_cols, "a value for each place of the matrix");
        Self { start, n_rows, n_cols, row_stride: n_cols as isize, col_stride: 1 }
    }

    fn rows(self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.n_rows);
        // SAFETY: the first of these rows is inside the allocation, or the view is empty at its end.
        let start = unsafe { self.start.offset(rows.start as isize * self.row_stride) };
        Self { start, n_rows: rows.len(), ..self }
    }

    fn t(self) -> Self {
        let Self { start, n_rows, n_cols, row_stride, col_stride } = self;
        Self { start, n_rows: n_cols, n_cols: n_rows, row_stride: col_stride, col_stride: row_stride }
    }

    fn cols(self, cols: Range<usize>) -> Self {
        self.t().rows(cols).t()
    }
}

impl<'a> Matrix<'a> {
    /// `values` as `n_rows` rows.
    pub fn new(values: &'a [f32], n_rows: usize, n_cols: usize) -> Self {
        let view = View::row_major(values.as_ptr().cast_mut(), values.len(), n_rows, n_cols);
        Self { view, values: PhantomData }
    }

    /// How many rows there are.
    pub fn n_rows(self) -> usize {
        self.view.n_rows
    }

    /// How many columns there are.
    pub fn n_cols(self) -> usize {
        self.view.n_cols
    }

    /// The transpose; no value moves.
    pub fn t(self) -> Self {
        Self { view: self.view.t(), ..self }
    }

    /// Some of the rows.
    pub fn rows(self, rows: Range<usize>) -> Self {
        Self { view: self.view.rows(rows), ..self }
    }

    /// Some of the columns.
    pub fn cols(self, cols: Range<usize>) -> Self {
        Self { view: self.view.cols(cols), ..self }
    }

    /// One row of a matrix whose rows are contiguous.
    pub fn row(self, row: usize) -> &'a [f32] {
        assert!(self.view.col_stride == 1 && row < self.view.n_rows);
        // SAFETY: the row is inside the slice this was made of, which lives for 'a.
        unsafe {
            std::slice::from_raw_parts(
                self.view.start.offset(row as isize * self.view.row_stride),
                self.view.n_cols,
            )
        }
    }
}

impl<'a> MatrixMut<'a> {
    /// `values` as `n_rows` rows.
    pub fn new(values: &'a mut [f32], n_rows: usize, n_cols: usize) -> Self {
        let view = View::row_major(values.as_mut_ptr(), values.len(), n_rows, n_cols);
        Self { view, values: PhantomData }
    }

    /// Memory that a product will set.
    ///
    /// # Safety
    /// Nothing may be read from it or added to it before it was set.
    pub unsafe fn unset(values: &'a mut [MaybeUninit<f32>], n_rows: usize, n_cols: usize) -> Self {
        let view = View::row_major(values.as_mut_ptr().cast(), values.len(), n_rows, n_cols);
        Self { view, values: PhantomData }
    }

    /// Some of the rows.
    pub fn rows(&mut self, rows: Range<usize>) -> MatrixMut<'_> {
        MatrixMut { view: self.view.rows(rows), values: PhantomData }
    }

    /// Some of the columns.
    pub fn cols(&mut self, cols: Range<usize>) -> MatrixMut<'_> {
        MatrixMut { view: self.view.cols(cols), values: PhantomData }
    }

    /// A part that another thread writes at the same time as others write theirs.
    ///
    /// # Safety
    /// No two parts that are used at the same time may overlap.
    pub unsafe fn part(&self, rows: Range<usize>, cols: Range<usize>) -> MatrixMut<'a> {
        MatrixMut { view: self.view.rows(rows).cols(cols), values: PhantomData }
    }

    /// One row of a matrix whose rows are contiguous.
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(self.view.col_stride == 1 && row < self.view.n_rows);
        // SAFETY: the row is inside the slice this was made of, which is borrowed exclusively.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.view.start.offset(row as isize * self.view.row_stride),
                self.view.n_cols,
            )
        }
    }

    /// `self = scale · a b`, or `self += scale · a b`.
    ///
    /// # Shapes
    /// `self`: `[m, n]`, `a`: `[m, k]`, `b`: `[k, n]`
    pub fn product(&mut self, how: Product, a: Matrix<'_>, b: Matrix<'_>) {
        let Product { write, scale, threads } = how;
        let (d, a, b) = (self.view, a.view, b.view);
        assert!(
            d.n_rows == a.n_rows && d.n_cols == b.n_cols && a.n_cols == b.n_rows,
            "shapes of the product"
        );
        let parallelism = match threads {
            Threads::All if d.n_rows * d.n_cols * a.n_cols > PARALLEL_FROM => gemm::Parallelism::Rayon(0),
            Threads::All | Threads::One => gemm::Parallelism::None,
        };
        let kept = match write {
            Write::Set => 0.0,
            Write::Add => 1.0,
        };
        // SAFETY: the views lie inside live slices of these shapes, and the borrow checker (or the promise
        // made to `part`) keeps the destination apart from the sources.
        unsafe {
            gemm::gemm(
                d.n_rows,
                d.n_cols,
                a.n_cols,
                d.start,
                d.col_stride,
                d.row_stride,
                write == Write::Add,
                a.start,
                a.col_stride,
                a.row_stride,
                b.start,
                b.col_stride,
                b.row_stride,
                kept,
                scale,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}

/// The product `a b`, `[n_rows, n_cols]`, on all threads.
pub fn product(a: Matrix<'_>, b: Matrix<'_>, [n_rows, n_cols]: [usize; 2]) -> Vec<f32> {
    // SAFETY: a product that sets writes every value of its destination and reads none.
    unsafe {
        made(n_rows * n_cols, |values| {
            MatrixMut::unset(values, n_rows, n_cols).product(Product::SET, a, b);
        })
    }
}
