package tarfilter

import "archive/tar"

// Layer judges the entries of a layer that is unpacked into a store: it goes there without what would
// make it another layer to who mounts it than to who reads it, and without what cannot be
// made there.
type Layer struct {
	// Devices says that device nodes can be made.
	Devices bool

	left paths // of device nodes
}

// Judge is the Judge of the layer's entries, one after the other. Left out are the entry for the root
// (docs/decisions/0008-root-directory.md), global headers, of which the storage library
// would make directories, device nodes that are overlay's whiteouts, and attributes of
// storage drivers.
func (l *Layer) Judge(h *tar.Header) (Verdict, error) {
	device := h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock
	switch {
	case h.Typeflag == tar.TypeXGlobalHeader, isRoot(h.Name) && h.Typeflag == tar.TypeDir:
		return Drop, nil
	case isWhiteout(h), device && !l.Devices, h.Typeflag == tar.TypeLink && l.left.has(h.Linkname):
		l.left.add(h.Name)
		return Drop, nil
	}
	l.left.remove(h.Name)
	if dropped := dropXattrs(h, func(attr string) bool { return !StoresOwn(attr) }); len(dropped) > 0 {
		return Rewrite, nil
	}
	return Keep, nil
}
