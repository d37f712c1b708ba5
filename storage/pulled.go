//go:build linux

package storage

import (
	"compress/gzip"
	"path"
	"time"

	tarsplit "github.com/vbatts/tar-split/tar/storage"

	"github.com/oakum-build/oakum/storage/tarfilter"
)

// PulledNotices are sentences on what was left out when the layers of an image were unpacked. Only
// layers that have come into the store since a time count. It reads the headers of the
// layers' tars, which the store keeps beside each layer, and no files.
func (s *Store) PulledNotices(img Image, since time.Time) []string {
	var out tarfilter.LeftOut
	for id := img.TopLayer; id != ""; {
		record, err := s.cs.Layer(id)
		if err != nil {
			return nil
		}
		if !record.Created.Before(since) {
			s.strippedOf(id, &out)
		}
		id = record.Parent
	}
	return out.Notices()
}

// strippedOf adds to out the files of a layer whose headers have attributes that storage drivers
// use for themselves, and that were therefore not unpacked.
func (s *Store) strippedOf(id string, out *tarfilter.LeftOut) {
	f, err := s.splitTar(id)
	if err != nil || f == nil {
		return
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return
	}
	found := ""
	for in := tarsplit.NewJSONUnpacker(z); ; {
		entry, err := in.Next()
		if err != nil {
			return
		}
		if entry.Type == tarsplit.SegmentType {
			found = tarfilter.StoresOwnIn(entry.Payload)
			continue
		}
		if found != "" {
			out.Attribute(found, path.Clean("/"+entry.GetName()))
		}
		found = ""
	}
}
