//! Streams and events. Everything is done when the call for it returns.

use std::ffi::{c_int, c_uint, c_void};
use std::time::Instant;

use super::result::{NOT_SUPPORTED, SUCCESS};

fn stream(made: &mut *const c_void) -> c_int {
    static ONE: u8 = 0;
    *made = (&raw const ONE).cast();
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreate(made: &mut *const c_void, _flags: c_uint) -> c_int {
    stream(made)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreateWithPriority(
    made: &mut *const c_void,
    _flags: c_uint,
    _priority: c_int,
) -> c_int {
    stream(made)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(_stream: *const c_void) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(_stream: *const c_void) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamQuery(_stream: *const c_void) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(_stream: *const c_void, _event: *const c_void, _flags: c_uint) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamIsCapturing(_stream: *const c_void, status: &mut c_uint) -> c_int {
    *status = 0;
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(_stream: *const c_void, _mode: c_uint) -> c_int {
    NOT_SUPPORTED
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchHostFunc(
    _stream: *const c_void,
    function: extern "C" fn(*mut c_void),
    data: *mut c_void,
) -> c_int {
    function(data);
    SUCCESS
}

struct Event(Instant);

#[unsafe(no_mangle)]
extern "C" fn cuEventCreate(made: &mut *mut c_void, _flags: c_uint) -> c_int {
    *made = Box::into_raw(Box::new(Event(Instant::now()))).cast();
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventRecord(event: *mut c_void, _stream: *const c_void) -> c_int {
    // SAFETY: made by `cuEventCreate`.
    unsafe { (*event.cast::<Event>()).0 = Instant::now() };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventQuery(_event: *const c_void) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(_event: *const c_void) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime_v2(ms: &mut f32, start: *const c_void, end: *const c_void) -> c_int {
    // SAFETY: both made by `cuEventCreate`.
    let (start, end) = unsafe { ((*start.cast::<Event>()).0, (*end.cast::<Event>()).0) };
    *ms = (end - start).as_secs_f32() * 1e3;
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime(ms: &mut f32, start: *const c_void, end: *const c_void) -> c_int {
    // SAFETY: as above.
    unsafe { cuEventElapsedTime_v2(ms, start, end) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventDestroy_v2(event: *mut c_void) -> c_int {
    // SAFETY: made by `cuEventCreate`, and given back once.
    drop(unsafe { Box::from_raw(event.cast::<Event>()) });
    SUCCESS
}
