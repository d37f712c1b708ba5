package tarfilter

import (
	"archive/tar"
	"fmt"
	"path"
)

// EntryError is an entry of an archive that cannot be unpacked.
type EntryError struct{ Name, Why string }

func (e *EntryError) Error() string { return fmt.Sprintf("%q in the archive %s", e.Name, e.Why) }

// Archive judges the entries of a foreign archive that is unpacked into a directory, so that all that
// tar(1) would make of it, and that a layer can hold, comes out.
type Archive struct {
	// Devices says that device nodes can be made; else they are left out.
	Devices bool
	// AnyName lets names pass that layers cannot hold, when not all is to go into one.
	AnyName bool
	// Mapped says whether files can have an owner; nil when they get another one.
	Mapped func(uid, gid int) bool
	// Free gives the bytes that are left where the files go.
	Free func() uint64

	// LeftOut is told what is left out; it may be nil.
	LeftOut *LeftOut

	left  paths // of device nodes
	seen  paths
	loose string // see Loose
}

// Loose says which hard link of the archive leads to a file that is not before it there, "" when none
// does: a reason to look for when unpacking has failed, and none when the file was where
// the archive goes to.
func (a *Archive) Loose() string { return a.loose }

// Judge is the Judge of the archive's entries, one after the other.
func (a *Archive) Judge(h *tar.Header) (Verdict, error) {
	if h.Typeflag == tar.TypeXGlobalHeader || h.Typeflag == typeVolume || isRoot(h.Name) {
		return Drop, nil
	}
	if !a.AnyName {
		if err := CheckName(h.Name); err != nil {
			return Drop, err
		}
	}
	verdict := Keep
	a.seen.add(h.Name)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeFifo:
	case tar.TypeLink:
		if a.left.has(h.Linkname) {
			return a.leave(h), nil
		}
		if a.loose == "" && !a.seen.has(h.Linkname) {
			a.loose = fmt.Sprintf("the hard link %q leads to %q, which is not before it in the archive", h.Name, h.Linkname)
		}
	case tar.TypeChar, tar.TypeBlock:
		if !a.Devices || isWhiteout(h) {
			return a.leave(h), nil
		}
	case tar.TypeGNUSparse, tar.TypeCont: // which differ from others in the archive alone
		h.Typeflag, verdict = tar.TypeReg, Rewrite
	case typeDumpDir: // its content is a list of names
		h.Typeflag, h.Size, verdict = tar.TypeDir, 0, Rewrite
	default:
		return Drop, &EntryError{h.Name, fmt.Sprintf("is of the type %q, which only some programs know; make the archive by another, or unpack it before it is added", h.Typeflag)}
	}
	if a.Mapped != nil && !a.Mapped(h.Uid, h.Gid) {
		return Drop, &EntryError{h.Name, fmt.Sprintf("belongs to %d:%d, which is not mapped: more subordinate ids are needed in /etc/subuid and /etc/subgid, or another owner (--chown)", h.Uid, h.Gid)}
	}
	// What is in holes costs nothing in the archive, and as much as other bytes on the disk.
	if a.Free != nil && h.Typeflag == tar.TypeReg && h.Size > maxUnasked && uint64(h.Size) > a.Free() {
		return Drop, &EntryError{h.Name, fmt.Sprintf("has %d bytes, more than there is room for", h.Size)}
	}
	a.left.remove(h.Name)
	if dropped := dropXattrs(h, keptBy(h.Typeflag)); len(dropped) > 0 {
		verdict = Rewrite
		for _, attr := range dropped {
			if StoresOwn(attr) {
				a.LeftOut.Attribute(attr, path.Clean("/"+h.Name))
			}
		}
	}
	return verdict, nil
}

// leave leaves a device node out.
func (a *Archive) leave(h *tar.Header) Verdict {
	a.left.add(h.Name)
	a.LeftOut.Device(path.Clean("/" + h.Name))
	return Drop
}

// Types that GNU tar writes for itself alone.
const (
	typeVolume  = 'V' // the archive's label
	typeDumpDir = 'D' // a directory of an incremental backup
)

// maxUnasked is the size up to which the file system itself says that it is full.
const maxUnasked = 1 << 30

// keptBy says which attributes a file of a type can have: the user's are for files and
// directories alone.
func keptBy(kind byte) func(string) bool {
	if kind == tar.TypeReg || kind == tar.TypeDir {
		return Keeps
	}
	return func(string) bool { return false }
}
