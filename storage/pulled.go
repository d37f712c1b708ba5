//go:build linux

package storage

import (
	"compress/gzip"
	"os"
	"path"
	"path/filepath"
	"time"

	tarsplit "github.com/vbatts/tar-split/tar/storage"

	"github.com/oakum-build/oakum/storage/tarfilter"
)

// PulledNotices say what the layers of an image that have come into the store since a time have
// that was left out of their files. It only reads the headers, which the
// store keeps beside each layer.
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

// strippedOf finds the files of a layer whose headers have attributes of storage drivers.
func (s *Store) strippedOf(id string, out *tarfilter.LeftOut) {
	root := s.cs.GraphRoot()
	if images := s.cs.ImageStore(); images != "" {
		root = images
	}
	f, err := os.Open(filepath.Join(root, s.cs.GraphDriverName()+"-layers", id+".tar-split.gz"))
	if err != nil {
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
