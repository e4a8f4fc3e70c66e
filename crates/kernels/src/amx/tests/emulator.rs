//! The instructions of AMX in software, for machines that do not have them: a handler of the signal for illegal
//! instructions computes what the manual says, and goes on behind the instruction.
//!
//! Source: the pseudocode of each instruction in the Intel 64 and IA-32 Architectures Software Developer's Manual.

use std::{cell::UnsafeCell, sync::Once};

use super::super::Amx;

/// A tile register: 16 rows of 64 bytes, of which some are used.
#[derive(Clone, Copy)]
struct Register {
    rows: usize,
    bytes: usize,
    contents: [[u8; 64]; 16],
}

const EMPTY: Register = Register { rows: 0, bytes: 0, contents: [[0; 64]; 16] };

/// The registers of a thread.
struct Registers([Register; 8], bool);

thread_local! {
    /// A signal handler can't be given anything, and must not allocate.
    static REGISTERS: UnsafeCell<Registers> = const { UnsafeCell::new(Registers([EMPTY; 8], false)) };
}

/// Installs the handler, once, unless the machine has AMX itself.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let native = Amx::of_machine();
        if native.bytes && native.bfloats {
            return;
        }
        // SAFETY: the action is a plain structure, filled as sigaction(2) wants it. The handler touches only
        // memory of its own thread and what the instructions of the kernels name.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut())
        };
        assert_eq!(result, 0, "the handler was not installed");
    });
}

/// Whether this thread's registers are given back.
pub(crate) fn is_released() -> bool {
    // SAFETY: the handler runs on this thread only while one of its instructions does.
    REGISTERS.with(|registers| unsafe { !(*registers.get()).1 })
}

extern "C" fn handle(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system hands over the context of this thread, which nobody else has.
    let general = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let start = general[libc::REG_RIP as usize] as *const u8;
    // SAFETY: the processor has read an instruction there; none is longer than 15 bytes, and kernels do not end at the
    // end of a page of code.
    let code: [u8; 15] = unsafe { start.cast::<[u8; 15]>().read_unaligned() };
    // SAFETY: the registers are this thread's, and nobody else has them now.
    let done = REGISTERS.with(|registers| unsafe { execute(&code, general, &mut *registers.get()) });
    match done {
        Some(length) => general[libc::REG_RIP as usize] += length as i64,
        // Another illegal instruction ends the process, as it would without this handler.
        // SAFETY: the call takes numbers.
        None => unsafe {
            libc::signal(libc::SIGILL, libc::SIG_DFL);
        },
    }
}

/// A general register by its number in instructions.
fn general_register(general: &[i64], number: usize) -> i64 {
    const LOW: [libc::c_int; 8] = [
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RDX,
        libc::REG_RBX,
        libc::REG_RSP,
        libc::REG_RBP,
        libc::REG_RSI,
        libc::REG_RDI,
    ];
    let place = LOW.get(number).map_or_else(|| number - 8, |place| *place as usize);
    general[place]
}

/// An operand in memory: where it begins, from one row to the next, and how many bytes of code it took.
struct Address {
    base: i64,
    index: i64,
    length: usize,
}

/// Reads the address behind the opcode. `extend` are the bits that make register numbers larger: of the index,
/// and of the base.
fn address(code: &[u8], general: &[i64], extend: [usize; 2]) -> Option<Address> {
    let (form, low) = (code[0] >> 6, usize::from(code[0] & 7));
    let mut length = 1;
    let (mut base, mut index) = (0, 0);
    let mut displacement = [0, 1, 4, 0][usize::from(form)];
    if low == 4 {
        let second = code[1];
        length += 1;
        let (number, scaled) = (usize::from(second & 7), usize::from(second >> 3 & 7) | extend[0]);
        if scaled != 4 {
            index = general_register(general, scaled) << (second >> 6);
        }
        if number == 5 && form == 0 {
            displacement = 4;
        } else {
            base = general_register(general, number | extend[1]);
        }
    } else if low == 5 && form == 0 {
        // Relative to the instruction: the kernels have no such address.
        return None;
    } else {
        base = general_register(general, low | extend[1]);
    }
    let added = match displacement {
        0 => 0,
        1 => i64::from(code[length] as i8),
        _ => i64::from(i32::from_le_bytes(code[length..length + 4].try_into().ok()?)),
    };
    Some(Address { base: base + added, index, length: length + displacement })
}

/// Does what an instruction says, and returns its length; `None` if it is another one.
///
/// # Safety
/// The memory that the instruction names is there.
unsafe fn execute(code: &[u8; 15], general: &[i64], registers: &mut Registers) -> Option<usize> {
    // The three bytes before the opcode, of the map 0F38.
    if code[0] != 0xc4 || code[1] & 0x1f != 2 || code[2] & 0x84 != 0 {
        return None;
    }
    let extend = [usize::from(code[1] & 0x40 == 0) * 8, usize::from(code[1] & 0x20 == 0) * 8];
    let (prefix, third) = (code[2] & 3, usize::from(!code[2] >> 3 & 15));
    let operand = code[4];
    let is_memory = operand >> 6 != 3;
    let (first, second) = (usize::from(operand >> 3 & 7), usize::from(operand & 7));
    match (code[3], prefix, is_memory) {
        (0x49, 0, true) => {
            let address = address(&code[4..], general, extend)?;
            // SAFETY: the caller says that 64 bytes are there.
            let bytes: [u8; 64] =
                unsafe { ((address.base + address.index) as *const [u8; 64]).read_unaligned() };
            assert!(bytes[0] == 1 && bytes[1..16].iter().all(|byte| *byte == 0), "no configuration");
            for (number, register) in registers.0.iter_mut().enumerate() {
                let width = usize::from(u16::from_le_bytes([bytes[16 + 2 * number], bytes[17 + 2 * number]]));
                let rows = usize::from(bytes[48 + number]);
                assert!(rows <= 16 && width <= 64, "no configuration");
                *register = Register { rows, bytes: width, ..EMPTY };
            }
            registers.1 = true;
            Some(4 + address.length)
        }
        (0x49, 0, false) if operand == 0xc0 => {
            *registers = Registers([EMPTY; 8], false);
            Some(5)
        }
        (0x49, 3, false) if second == 0 => {
            registers.0[first].contents = EMPTY.contents;
            Some(5)
        }
        (0x4b, 1..=3, true) => {
            let address = address(&code[4..], general, extend)?;
            let register = &mut registers.0[first];
            assert!(registers.1 && register.rows > 0 && register.bytes > 0, "a register without a form");
            if prefix != 2 {
                register.contents = EMPTY.contents;
            }
            for (row, contents) in register.contents.iter_mut().enumerate().take(register.rows) {
                let place = address.base + row as i64 * address.index;
                // SAFETY: the caller says that the rows are there.
                unsafe {
                    if prefix == 2 {
                        std::ptr::copy(contents.as_ptr(), place as *mut u8, register.bytes);
                    } else {
                        std::ptr::copy(place as *const u8, contents.as_mut_ptr(), register.bytes);
                    }
                }
            }
            Some(4 + address.length)
        }
        (0x5c, 2, false) | (0x5e, 0..=3, false) => {
            let (left, right) = (registers.0[second], registers.0[third]);
            let sums = &mut registers.0[first];
            assert!(first != second && first != third && second != third, "three different registers");
            assert!(
                registers.1
                    && sums.rows == left.rows
                    && sums.bytes == right.bytes
                    && left.bytes == 4 * right.rows,
                "registers that do not fit"
            );
            for row in 0..sums.rows {
                multiply(&mut sums.contents[row], &left.contents[row], &right, (code[3] == 0x5c, prefix));
            }
            Some(5)
        }
        _ => None,
    }
}

/// Zero in the place of what is below the normal numbers.
fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0.0_f32.copysign(value) } else { value }
}

/// A row of sums, and the products of a row with all columns.
fn multiply(sums: &mut [u8; 64], left: &[u8; 64], right: &Register, (are_floats, prefix): (bool, u8)) {
    let word = |row: &[u8; 64], place: usize| [0, 1, 2, 3].map(|byte| row[4 * place + byte]);
    for column in 0..right.bytes / 4 {
        let mut sum = word(sums, column);
        if are_floats {
            let halves = |word: [u8; 4]| {
                [[word[0], word[1]], [word[2], word[3]]]
                    .map(|half| flush(f32::from_le_bytes([0, 0, half[0], half[1]])))
            };
            let mut both = [0.0_f32; 2];
            for step in 0..right.rows {
                let (left, right) = (halves(word(left, step)), halves(word(&right.contents[step], column)));
                for (both, (left, right)) in both.iter_mut().zip(left.into_iter().zip(right)) {
                    *both = flush(left.mul_add(right, *both));
                }
            }
            let added = flush(both[0] + both[1]);
            sum = flush(flush(f32::from_le_bytes(sum)) + added).to_le_bytes();
        } else {
            let mut total = i32::from_le_bytes(sum);
            for step in 0..right.rows {
                for (left, right) in word(left, step).into_iter().zip(word(&right.contents[step], column)) {
                    // Which of both have signs: neither, the right one, the left one, both.
                    let left = if prefix >= 2 { i32::from(left as i8) } else { i32::from(left) };
                    let right = if prefix % 2 == 1 { i32::from(right as i8) } else { i32::from(right) };
                    total = total.wrapping_add(left * right);
                }
            }
            sum = total.to_le_bytes();
        }
        sums[4 * column..4 * column + 4].copy_from_slice(&sum);
    }
}
