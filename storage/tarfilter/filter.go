package tarfilter

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"path"
	"strings"
)

// Verdict is what becomes of an entry of a tar stream.
type Verdict int

// The verdicts.
const (
	Keep    Verdict = iota // byte for byte
	Rewrite                // with the header as the judge has changed it
	Drop
)

// A Judge decides on an entry, whose header it may change. An error ends the stream.
type Judge func(h *tar.Header) (Verdict, error)

// Copy copies a plain tar stream as the judge says. What cannot be read as a tar is copied as
// it is, for the reader of w to complain of.
func Copy(w io.Writer, r io.Reader, judge Judge) error {
	in := &tap{r: r}
	tr := tar.NewReader(in)
	for to := w; ; {
		var header bytes.Buffer
		in.w = &header
		padding := (blockSize - in.read%blockSize) % blockSize
		h, err := tr.Next()
		if _, err := to.Write(header.Next(int(padding))); err != nil { // of the entry before
			return err
		}
		if err != nil {
			return rest(w, in, &header, err)
		}
		verdict, err := judge(h)
		if err != nil {
			return err
		}
		to = io.Discard
		if verdict == Keep {
			to = w
		}
		if _, err := to.Write(header.Bytes()); err != nil {
			return err
		}
		in.w = to
		if verdict == Rewrite {
			err = rewrite(w, h, tr)
		} else {
			_, err = io.Copy(io.Discard, tr)
		}
		if err != nil {
			return err
		}
	}
}

const blockSize = 512

// rest copies what follows the last entry.
func rest(w io.Writer, in *tap, header *bytes.Buffer, end error) error {
	in.w = w
	if _, err := w.Write(header.Bytes()); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, in) // not r, which may have a WriteTo that cannot start here
	if end == io.EOF && err != nil && errors.Is(err, gzip.ErrHeader) {
		return nil // something follows what was compressed; gzip(1) passes over it, too
	}
	return err
}

func rewrite(w io.Writer, h *tar.Header, body io.Reader) error {
	h.Format = tar.FormatPAX
	tw := tar.NewWriter(w)
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if h.Size > 0 {
		if _, err := io.Copy(tw, body); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// tap writes what is read through it to w.
type tap struct {
	r    io.Reader
	w    io.Writer
	read int64
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.read += int64(n)
	if _, werr := t.w.Write(p[:n]); werr != nil {
		return n, werr
	}
	return n, err
}

// Entries is a tar stream that a judge has gone through.
type Entries struct {
	*io.PipeReader
	err  error
	done chan struct{}
}

// NewEntries reads what is left of a plain tar stream. It must be closed, and does not read from r
// after that.
func NewEntries(r io.Reader, judge Judge) *Entries {
	out, w := io.Pipe()
	e := &Entries{PipeReader: out, done: make(chan struct{})}
	go func() {
		defer close(e.done)
		if err := Copy(w, r, judge); !errors.Is(err, io.ErrClosedPipe) {
			e.err = err
		}
		_ = w.CloseWithError(e.err)
	}()
	return e
}

// Close ends the stream and gives the error of the judge or of reading. A reader that was
// given it may only have seen that it ended too early.
func (e *Entries) Close() error {
	_ = e.PipeReader.Close()
	<-e.done
	return e.err
}

// isRoot says whether an entry is for the archive's root.
func isRoot(name string) bool { return path.Clean("/"+name) == "/" }

const xattrRecord = "SCHILY.xattr."

// dropXattrs takes the attributes that are not kept out of a header, and names them.
func dropXattrs(h *tar.Header, keeps func(attr string) bool) (dropped []string) {
	for key := range h.PAXRecords {
		if attr, ok := strings.CutPrefix(key, xattrRecord); ok && !keeps(attr) {
			delete(h.PAXRecords, key)
			delete(h.Xattrs, attr) //lint:ignore SA1019 package tar writes what it has read into it
			dropped = append(dropped, attr)
		}
	}
	return dropped
}

// isWhiteout says whether a node of these numbers would be overlay's mark of a removed file.
func isWhiteout(h *tar.Header) bool {
	return h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0
}
