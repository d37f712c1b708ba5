//go:build linux

package extract

import (
	"archive/tar"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrRecord is how the keys of PAX records begin that are extended attributes.
const xattrRecord = "SCHILY.xattr."

// announce tells Ahead what the entry of a header is going to be in an open directory. ino is the inode of a
// regular file, and first the path of the file that a hard link is another name of. A stream can say anything,
// and what of it is not so in the end is found by the store, which then reads the files. So this takes what
// most archives are that were made in order: sorted, with an entry for each directory.
func (x *extraction) announce(at *place, base string, h *tar.Header, ino uint64, first string) {
	if x.Ahead == nil || !x.Ahead.Going() {
		return
	}
	if at.path != "" && x.told != at.path && !strings.HasPrefix(x.told, at.path+"/") {
		x.Ahead.GiveUp() // a directory without an entry, or one that was there
		return
	}
	x.told = at.join(base)
	uid, gid := x.owner(h)
	st := &unix.Stat_t{
		Ino: ino, Mode: fileType(h) | uint32(h.Mode)&0o7777, Uid: uint32(uid), Gid: uint32(gid), Size: h.Size,
		Mtim: timespec(h.ModTime), Rdev: unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)),
	}
	if h.Typeflag == tar.TypeSymlink {
		st.Mode |= 0o777
	}
	var attrs map[string]string
	for key, value := range h.PAXRecords {
		if attr, ok := strings.CutPrefix(key, xattrRecord); ok {
			if attrs == nil {
				attrs = map[string]string{}
			}
			attrs[attr] = value
		}
	}
	x.Ahead.Add(x.told, st, first, h.Linkname, attrs)
}

// announceOpen is announce for a regular file that has been made.
func (x *extraction) announceOpen(at *place, base string, h *tar.Header, f *os.File) {
	if x.Ahead == nil || !x.Ahead.Going() {
		return
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		x.Ahead.GiveUp()
		return
	}
	x.announce(at, base, h, st.Ino, "")
}

// fileType is the type of the file of a header, as st_mode has it. That of a hard link does not count.
func fileType(h *tar.Header) uint32 {
	switch h.Typeflag {
	case tar.TypeDir:
		return unix.S_IFDIR
	case tar.TypeSymlink:
		return unix.S_IFLNK
	case tar.TypeFifo:
		return unix.S_IFIFO
	case tar.TypeChar:
		return unix.S_IFCHR
	case tar.TypeBlock:
		return unix.S_IFBLK
	}
	return unix.S_IFREG
}
