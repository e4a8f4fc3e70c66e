//! What an ELF file says about how it is loaded (System V ABI, chapter 5).

use std::{fs::File, os::unix::fs::FileExt};

use object::{
    Endianness,
    elf::{
        DT_AUDIT, DT_AUXILIARY, DT_DEPAUDIT, DT_FILTER, DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_STRSZ,
        DT_STRTAB, Dyn64, ET_DYN, ET_EXEC, FileHeader64, PT_LOAD, ProgramHeader64,
    },
    read::{
        ReadCache, ReadRef, StringTable,
        elf::{Dyn, FileHeader, ProgramHeader},
    },
};

/// The longest name that is read out of a file, in bytes.
const MAXIMUM_TEXT: usize = 4096;
/// The most libraries that one file may need.
const MAXIMUM_NEEDED: usize = 1024;

/// What an ELF file says about how it is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Loading {
    /// The loader, for a dynamically linked program.
    pub(super) interpreter: Option<String>,
    pub(super) needed: Vec<String>,
    /// Where the loader looks first.
    pub(super) search_paths: Vec<String>,
    /// It names auditing libraries, which the loader would run first.
    pub(super) audit: bool,
    /// It names libraries that answer in its place.
    pub(super) filter: bool,
}

impl Loading {
    /// Reads the headers of a 64-bit program or library.
    pub(super) fn read(file: &File) -> Result<Self, String> {
        let mut start = [0; 4];
        let length = file.read_at(&mut start, 0).map_err(|error| error.to_string())?;
        if start.starts_with(b"#!") {
            return Err("it is a script, and the interpreter that would run it is not pinned; pin the interpreter as \
                        the program and the script's path as a required argument"
                .to_owned());
        }
        if length < start.len() || start != *b"\x7fELF" {
            return Err("it is no program: expected an ELF file".to_owned());
        }
        Self::parse(&ReadCache::new(file))
            .map_err(|reason| format!("its ELF headers are malformed: {reason}"))
    }

    fn parse<'data>(data: impl ReadRef<'data>) -> Result<Self, String> {
        let text = |error: object::read::Error| error.to_string();
        let header = FileHeader64::<Endianness>::parse(data).map_err(text)?;
        let endian = header.endian().map_err(text)?;
        let kind = header.e_type(endian);
        if kind != ET_EXEC && kind != ET_DYN {
            return Err(format!("it is of type {kind:?}, neither a program nor a library"));
        }
        let segments = header.program_headers(endian, data).map_err(text)?;
        let mut loading = Self::default();
        for segment in segments {
            if let Some(name) = segment.interpreter(endian, data).map_err(text)? {
                loading.interpreter = Some(name_in(name)?);
            }
        }
        for segment in segments {
            if let Some(table) = segment.dynamic(endian, data).map_err(text)? {
                loading.read_dynamic(endian, data, segments, table)?;
            }
        }
        Ok(loading)
    }

    fn read_dynamic<'data, R: ReadRef<'data>>(
        &mut self,
        endian: Endianness,
        data: R,
        segments: &[ProgramHeader64<Endianness>],
        table: &[Dyn64<Endianness>],
    ) -> Result<(), String> {
        let entries = || table.iter().take_while(|entry| entry.d_tag(endian) != DT_NULL);
        let value = |tag| entries().find(|entry| entry.d_tag(endian) == tag).map(|entry| entry.d_val(endian));
        let strings = match (value(DT_STRTAB), value(DT_STRSZ)) {
            (Some(address), Some(size)) => string_table(endian, data, segments, address, size)?,
            _ => StringTable::default(),
        };
        for entry in entries() {
            let text = || {
                let offset =
                    u32::try_from(entry.d_val(endian)).map_err(|_| "a name lies outside of the file")?;
                name_in(strings.get(offset).map_err(|()| "a name lies outside of the file")?)
            };
            match entry.d_tag(endian) {
                DT_NEEDED if self.needed.len() == MAXIMUM_NEEDED => {
                    return Err(format!("it needs more than {MAXIMUM_NEEDED} libraries"));
                }
                DT_NEEDED => self.needed.push(text()?),
                DT_RPATH | DT_RUNPATH => self.search_paths.push(text()?),
                DT_AUDIT | DT_DEPAUDIT => self.audit = true,
                DT_FILTER | DT_AUXILIARY => self.filter = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The table at this address of the loaded file, as the loader finds it.
fn string_table<'data, R: ReadRef<'data>>(
    endian: Endianness,
    data: R,
    segments: &[ProgramHeader64<Endianness>],
    address: u64,
    size: u64,
) -> Result<StringTable<'data, R>, String> {
    let offset = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD)
        .find_map(|segment| {
            let within = address.checked_sub(segment.p_vaddr(endian))?;
            let fits = within.checked_add(size)? <= segment.p_filesz(endian);
            fits.then(|| segment.p_offset(endian).checked_add(within)).flatten()
        })
        .ok_or("the table of names lies outside of the file")?;
    let end = offset.checked_add(size).ok_or("the table of names lies outside of the file")?;
    Ok(StringTable::new(data, offset, end))
}

fn name_in(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > MAXIMUM_TEXT {
        return Err(format!("a name has more than {MAXIMUM_TEXT} bytes"));
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| "a name is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_test_needs_what_it_needs() {
        let loading = Loading::read(&File::open("/proc/self/exe").unwrap()).unwrap();
        // A test program of the usual targets is linked dynamically with the C
        // library; that of a musl target is static.
        assert_eq!(loading.interpreter.is_some(), !loading.needed.is_empty(), "{loading:?}");
        if cfg!(target_env = "gnu") {
            assert!(loading.needed.iter().any(|name| name.starts_with("libc.so")), "{loading:?}");
        }
    }

    #[test]
    fn other_files_are_no_programs() {
        let directory = tempfile::tempdir().unwrap();
        for (content, reason) in [
            (&b"#!/bin/sh\n"[..], "script"),
            (b"", "no program"),
            (b"MZ", "no program"),
            (b"\x7fELF", "malformed"),
        ] {
            let path = directory.path().join("file");
            std::fs::write(&path, content).unwrap();
            let error = Loading::read(&File::open(&path).unwrap()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    fn this_test() -> &'static [u8] {
        static FILE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        FILE.get_or_init(|| std::fs::read("/proc/self/exe").unwrap())
    }

    proptest! {
        #[test]
        fn changed_headers_never_panic(changes in prop::collection::vec((0usize..4096, any::<u8>()), 1..8)) {
            let mut file = this_test()[..this_test().len().min(1 << 20)].to_vec();
            for (position, byte) in changes {
                if let Some(place) = file.get_mut(position) {
                    *place = byte;
                }
            }
            let _ = Loading::parse(file.as_slice());
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = Loading::parse(bytes.as_slice());
            let _ = Loading::parse([b"\x7fELF\x02\x01\x01".as_slice(), &bytes].concat().as_slice());
        }
    }
}
