package tarfilter

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// Only what the judge drops is gone; all else stays as it is, to the byte.
func TestLeavesBytesAsTheyAre(t *testing.T) {
	long := strings.Repeat("long/", 60)
	write := func(names ...string) []byte {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for _, name := range names {
			h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(name))}
			if strings.HasSuffix(name, "/") {
				h.Typeflag, h.Size = tar.TypeDir, 0
			}
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(name)[:h.Size]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return append(buf.Bytes(), make([]byte, 1000)...)
	}
	kept := write("a", long+"f", "b")
	tests := map[string]struct{ in, want []byte }{
		"nothing to leave out": {kept, kept},
		"some":                 {write("", "./", "a", "./.", long+"f", "x/..", "b"), kept},
		"no archive":           {[]byte("text"), []byte("text")},
		"cut short":            {kept[:700], kept[:700]},
		"empty":                {nil, nil},
	}
	for name, test := range tests {
		r := NewEntries(bytes.NewReader(test.in), (&Archive{}).Judge)
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, test.want) {
			t.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, len(test.want))
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := NewEntries(bytes.NewReader(kept), (&Archive{}).Judge).Close(); err != nil {
		t.Errorf("unread: %v", err)
	}
}

// entries gives the names of what is left of entries, each with what is said of it.
func entriesOf(t testing.TB, stream []byte) (out []*tar.Header) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(stream)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); err != nil || n != h.Size {
			t.Fatalf("%s has %d bytes, %v, want %d", h.Name, n, err, h.Size)
		}
		out = append(out, h)
	}
}

func pack(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func filtered(t testing.TB, in []byte, judge Judge) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	err := Copy(&out, bytes.NewReader(in), judge)
	return out.Bytes(), err
}

func xattrs(names ...string) map[string]string {
	out := map[string]string{}
	for _, name := range names {
		out["SCHILY.xattr."+name] = "y\x00="
	}
	return out
}

// A layer keeps all but what would make it another one to who mounts it.
func TestLayer(t *testing.T) {
	in := pack(t,
		tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}},
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 7, PAXRecords: xattrs("user.overlay.opaque", "trusted.overlay.redirect", "user.mine", "security.capability")},
		tar.Header{Name: "d/.wh.gone", Typeflag: tar.TypeReg},
		tar.Header{Name: "d/.wh..wh..opq", Typeflag: tar.TypeReg},
		tar.Header{Name: "passwd", Typeflag: tar.TypeChar},
		tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		tar.Header{Name: strings.Repeat("n/", 120) + "f", Typeflag: tar.TypeReg, Size: 1300, PAXRecords: xattrs("user.containers.override_stat", "user.rootlesscontainers", "user.fuseoverlayfs.x")},
		tar.Header{Name: "last", Typeflag: tar.TypeReg, Size: 600, PAXRecords: xattrs("user.overlayed")},
	)
	out, err := filtered(t, in, (&Layer{Devices: true}).Judge)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, h := range entriesOf(t, out) {
		names = append(names, h.Name)
		for key := range h.PAXRecords {
			if attr, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
				names = append(names, attr)
				if h.PAXRecords[key] != "y\x00=" {
					t.Errorf("%s is %q", key, h.PAXRecords[key])
				}
			}
		}
		if h.Name == "d/" && (h.Mode != 0o750 || h.Uid != 7) {
			t.Errorf("%+v", h)
		}
	}
	got := strings.Replace(strings.Join(names, " "), "security.capability user.mine", "user.mine security.capability", 1)
	if want := "d/ user.mine security.capability d/.wh.gone d/.wh..wh..opq null " + strings.Repeat("n/", 120) + "f last user.overlayed"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestArchive(t *testing.T) {
	in := pack(t,
		tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "tmp/GlobalHead", PAXRecords: map[string]string{"comment": "x"}},
		tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		tar.Header{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8},
		tar.Header{Name: "dev/zero", Typeflag: tar.TypeLink, Linkname: "./dev/null"},
		tar.Header{Name: "dev/one", Typeflag: tar.TypeLink, Linkname: "dev/zero"},
		tar.Header{Name: "dev/gone", Typeflag: tar.TypeChar},
		tar.Header{Name: "fifo", Typeflag: tar.TypeFifo},
		tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 5, PAXRecords: xattrs("security.selinux", "trusted.x", "user.overlay.x", "user.mine")},
		tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "f", PAXRecords: xattrs("user.mine")},
		tar.Header{Name: "cont", Typeflag: tar.TypeCont, Size: 3},
	)
	for devices, want := range map[bool]string{
		false: "fifo f l cont", true: "dev/null dev/sda dev/zero dev/one fifo f l cont",
	} {
		left := &LeftOut{}
		a := &Archive{Devices: devices, LeftOut: left}
		out, err := filtered(t, in, a.Judge)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, h := range entriesOf(t, out) {
			names = append(names, h.Name)
			if n := len(h.PAXRecords); h.Name == "f" && n != 1 || h.Name == "l" && n != 0 {
				t.Errorf("%s has %q", h.Name, h.PAXRecords)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("with devices %t: %s, want %s", devices, got, want)
		}
		notice := "/dev/null, /dev/sda, /dev/zero and 2 more"
		if devices {
			notice = "make: /dev/gone"
		}
		if got := left.Notices(); len(got) != 2 || !strings.HasSuffix(got[0], notice) || !strings.HasSuffix(got[1], ": user.overlay.x of /f") {
			t.Errorf("with devices %t: %q, want %s", devices, got, notice)
		}
	}
}

func TestArchiveRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		h    tar.Header
		want string
	}{
		"whiteout":         {tar.Header{Name: "a/.wh.b", Typeflag: tar.TypeReg}, `"/a/.wh.b"`},
		"whiteout's link":  {tar.Header{Name: "./a/.wh..wh..opq", Typeflag: tar.TypeLink, Linkname: "x"}, `"/a/.wh..wh..opq"`},
		"below a whiteout": {tar.Header{Name: "x/../.wh.b/c", Typeflag: tar.TypeDir}, `"/.wh.b/c"`},
		"owner":            {tar.Header{Name: "f", Typeflag: tar.TypeReg, Uid: 70000}, "70000:0"},
		"group":            {tar.Header{Name: "f", Typeflag: tar.TypeDir, Gid: 1 << 31}, "0:2147483648"},
		"type":             {tar.Header{Name: "f", Typeflag: 'Z'}, "'Z'"},
		"size":             {tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 2 << 30}, "2147483648 bytes"},
	} {
		a := &Archive{Mapped: func(uid, gid int) bool { return uid < 65536 && gid < 65536 }, Free: func() uint64 { return 1 << 30 }}
		if _, err := a.Judge(&test.h); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v does not say %s", name, err, test.want)
		}
	}
	anyName := &Archive{AnyName: true}
	if v, err := anyName.Judge(&tar.Header{Name: ".wh.b", Typeflag: tar.TypeReg}); v != Keep || err != nil {
		t.Errorf("with any name: %v, %v", v, err)
	}
	// The error is who reads the stream's, however far it came.
	e := NewEntries(bytes.NewReader(pack(t, tar.Header{Name: "a", Typeflag: tar.TypeReg}, tar.Header{Name: ".wh.b", Typeflag: tar.TypeReg})), (&Archive{}).Judge)
	_, _ = io.Copy(io.Discard, e)
	var bad *NameError
	if err := e.Close(); !errors.As(err, &bad) || bad.Path != "/.wh.b" {
		t.Errorf("got %v", err)
	}
}

// Sparse files of every kind that GNU tar writes come out whole.
func TestSparse(t *testing.T) {
	dir := t.TempDir()
	for _, format := range []string{"gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix --sparse-version=1.0"} {
		script := "printf begin >f; truncate -s 3M f; printf end >>f; tar --sparse --format=" + format + " -cf - f"
		cmd := exec.Command("sh", "-c", script)
		cmd.Dir = dir
		in, err := cmd.Output()
		if err != nil || len(in) > 100<<10 {
			t.Fatalf("%s: %d bytes, %v", script, len(in), err)
		}
		out, err := filtered(t, in, (&Archive{}).Judge)
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		r := tar.NewReader(bytes.NewReader(out))
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil || h.Typeflag != tar.TypeReg || h.Name != "f" || !bytes.HasPrefix(content, []byte("begin")) || !bytes.HasSuffix(content, []byte("end")) || len(content) != 3<<20+3 {
			t.Errorf("%s: %+v, %d bytes, %v", format, h, len(content), err)
		}
	}
}

// What a header says of itself takes no more memory than it has bytes (CVE-2017-14992,
// CVE-2025-58183): such an archive ends in an error.
func TestGreedyHeaders(t *testing.T) {
	record := func(text string) []byte { // one PAX header
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		if err := w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: int64(len(text)), Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(text))
		_ = w.Flush()
		out := buf.Bytes()
		out[156] = 'x'
		for i := 148; i < 156; i++ {
			out[i] = ' '
		}
		sum := 0
		for _, b := range out[:512] {
			sum += int(b)
		}
		copy(out[148:], []byte{byte('0' + sum>>15&7), byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7), byte('0' + sum>>3&7), byte('0' + sum&7), 0, ' '})
		return out
	}
	file := pack(t, tar.Header{Name: "f", Typeflag: tar.TypeReg})
	long := strings.Repeat("x", 40<<20)
	for name, in := range map[string][]byte{
		"long record":   append(record("41943050 comment="+long+"\n"), file...),
		"sparse map":    append(record("22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n30 GNU.sparse.realsize=1000000\n"), record("10000000\n"+strings.Repeat("0\n1\n", 1<<20))...),
		"sparse blocks": append(record("23 GNU.sparse.numblocks=10000000\n"), file...),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := Copy(io.Discard, bytes.NewReader(in), (&Layer{}).Judge)
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 16 {
			t.Errorf("%s: %d MiB were taken, %v", name, got, err)
		}
	}
}

func FuzzCopy(f *testing.F) {
	f.Add(pack(f, tar.Header{Name: "d/", Typeflag: tar.TypeDir}, tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 700, PAXRecords: xattrs("user.overlay.opaque")}))
	f.Add(pack(f, tar.Header{Name: ".", Typeflag: tar.TypeSymlink, Linkname: "x"}, tar.Header{Name: "g", Typeflag: tar.TypeCont, Size: 3}))
	f.Add([]byte("text"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, judge := range []Judge{(&Layer{}).Judge, (&Archive{}).Judge} {
			out, err := filtered(t, in, judge)
			if err != nil {
				continue
			}
			// What is left is judged good.
			again, err := filtered(t, out, judge)
			if err != nil || !bytes.Equal(again, out) {
				t.Errorf("%q became %q, and then %q: %v", in, out, again, err)
			}
		}
	})
}

// Names take no memory once they were judged, however long they are.
func TestLongNames(t *testing.T) {
	const count = 10
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for name, judge := range map[string]Judge{
		"layer": (&Layer{}).Judge, "archive": (&Archive{AnyName: true}).Judge,
	} {
		for _, kind := range []byte{tar.TypeChar, tar.TypeReg} {
			before := heap()
			for i := range count {
				for _, filler := range []string{"/x", "//"} {
					h := &tar.Header{Name: strconv.Itoa(i) + strings.Repeat(filler, 1<<19), Typeflag: kind, Devmajor: 1}
					if _, err := judge(h); err != nil {
						t.Fatal(err)
					}
				}
			}
			if taken := (heap() - before) >> 20; taken > count/2 {
				t.Errorf("%s: %d names of 1 MiB of the type %q take %d MiB", name, 2*count, kind, taken)
			}
		}
		// They are known all the same.
		if v, err := judge(&tar.Header{Name: "link", Typeflag: tar.TypeLink, Linkname: "7" + strings.Repeat("/x", 1<<19)}); v != Keep || err != nil {
			t.Errorf("%s: a link to a file: %v, %v", name, v, err)
		}
	}
}
