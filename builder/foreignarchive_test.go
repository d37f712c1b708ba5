//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/isolation"
)

// tarOf is an archive of entries that are as they should be, with what a regular file holds in
// Linkname.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
		}
		h.Size = int64(len(content))
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o644
		}
		ok(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(content))
		ok(t, err)
	}
	ok(t, w.Close())
	return buf.Bytes()
}

func packedFile(data []byte) builder.Source {
	return builder.FS(fstest.MapFS{"a.tar": {Data: data, Mode: 0o644}}).Select("a.tar")
}

// warnings opens a Builder and collects what it warns of.
func warnings(t testing.TB) (*builder.Builder, func() string) {
	t.Helper()
	var got []string
	b := openIn(t, builder.Options{Root: tempDir(t), Events: func(e event.Event) {
		if e.Kind == event.Warning {
			got = append(got, e.Text)
		}
	}})
	return b, func() string { s := strings.Join(got, "\n"); got = nil; return s }
}

// rootless says whether this process cannot make device nodes.
func rootless() bool { return os.Geteuid() != 0 }

// A root file system has device nodes, which an ordinary user cannot make.
func TestDevicesOfArchives(t *testing.T) {
	t.Parallel()
	b, warned := warnings(t)
	data := tarOf(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "./dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666},
		tar.Header{Name: "./dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8},
		tar.Header{Name: "./dev/also", Typeflag: tar.TypeLink, Linkname: "./dev/null", Mode: 0o666},
		tar.Header{Name: "./dev/initctl", Typeflag: tar.TypeFifo, Mode: 0o600},
		tar.Header{Name: "./etc/f", Typeflag: tar.TypeReg, Linkname: "f"},
	)
	nodes, notice := "", "left out device nodes, which an ordinary user cannot make: /dev/null, /dev/sda, /dev/also"
	if !rootless() {
		nodes, notice = "character special file 666 0:0 dev/also\ncharacter special file 666 0:0 dev/null\nblock special file 644 0:0 dev/sda\n", ""
	}
	want := strings.Join(sorted(strings.SplitAfter(nodes+"d 755 0:0 dev\nfifo 600 0:0 dev/initctl\nd 755 0:0 etc\nf 644 0:0 etc/f\n", "\n")), "")
	check := func(s *builder.Stage, notice string) {
		t.Helper()
		got := strings.Join(sorted(strings.SplitAfter(find(t, s, "/out"), "\n")), "")
		equal(t, got, want)
		equal(t, warned(), notice)
	}
	s := base(t, b)
	ok(t, errOf(s.Add(t.Context(), "/out/", packedFile(data))))
	check(s, notice)
	s = base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/out/", builder.Tar(bytes.NewReader(data)))))
	if rootless() { // they are left out of what is copied
		notice = "left out device nodes, which an ordinary user cannot make: /out/dev/also, /out/dev/null, /out/dev/sda"
	}
	check(s, notice)
	// A context that has them.
	s = base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/out/", builder.Dir("/dev").Select("null"))))
	if rootless() {
		equal(t, warned(), "left out device nodes, which an ordinary user cannot make: /out/null")
		equal(t, sh(t, s, "ls /out"), "")
	} else {
		equal(t, sh(t, s, "test -c /out/null && echo node")+warned(), "node\n")
	}
	// A base that has them, and what is copied of it.
	img, err := tampered(t, b, func(dir string) { addLayer(t, dir, data) })
	ok(t, err)
	from := stage(t, b, img.ID, builder.StageOptions{})
	equal(t, sh(t, from, "cat /etc/f; echo >/dev/null"), "f")
	s = base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/out/dev", from.Path("/dev"))))
	ok(t, errOf(s.Copy(t.Context(), "/out/etc", from.Path("/etc/f"))))
}

// A node with the numbers of overlay's whiteouts removes nothing.
func TestWhiteoutNodes(t *testing.T) {
	t.Parallel()
	b, _ := warnings(t)
	data := tarOf(t, tar.Header{Name: "etc/passwd", Typeflag: tar.TypeChar}, tar.Header{Name: "etc/new", Typeflag: tar.TypeReg, Linkname: "n"})
	img, err := tampered(t, b, func(dir string) { addLayer(t, dir, data) })
	ok(t, err)
	equal(t, sh(t, stage(t, b, img.ID, builder.StageOptions{}), "cat /etc/new /etc/passwd"), "n"+passwd)
	s := base(t, b)
	ok(t, errOf(s.Add(t.Context(), "/", packedFile(data))))
	equal(t, sh(t, s, "cat /etc/new /etc/passwd"), "n"+passwd)
}

// What overlay reads out of a layer is in no layer that came from elsewhere.
func TestStoresOwnAttributesOfALayer(t *testing.T) {
	t.Parallel()
	b, warned := warnings(t)
	records := map[string]string{"SCHILY.xattr.user.mine": "y"}
	for _, attr := range append([]string{"trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy"}, own...) {
		records["SCHILY.xattr."+attr] = "y"
	}
	records["SCHILY.xattr.trusted.overlay.redirect"] = "/bin"
	entries := []tar.Header{
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: records},
		{Name: "etc/new", Typeflag: tar.TypeReg, Linkname: "n", PAXRecords: records},
		{Name: "lib/", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.user.overlay.redirect": "/bin", "SCHILY.xattr.trusted.overlay.redirect": "/bin"}},
	}
	img, err := tampered(t, b, func(dir string) { addLayer(t, dir, tarOf(t, entries...)) })
	ok(t, err)
	if text := warned(); strings.Count(text, "storage drivers") != 1 || !strings.Contains(text, " of /etc, ") {
		t.Errorf("warned of %q", text)
	}
	s := stage(t, b, img.ID, builder.StageOptions{})
	equal(t, sh(t, s, "cat /etc/new /etc/passwd; ls /lib"), "n"+passwd)
	to := base(t, b)
	ok(t, errOf(to.Copy(t.Context(), "/x", s.Path("/etc"))))
	equal(t, attributesOf(t, b, to), "x/new user.mine")
	// It leaves as it came.
	all := layers(t, b, img.ID)
	if got := len(entryOf(t, all[len(all)-1], "etc/new").PAXRecords); got < len(records) {
		t.Errorf("%d of %d records are left in the layer that is pushed", got, len(records))
	}
	// Pulled again, it is there and nothing is left out.
	ref := "oci-archive:" + filepath.Join(t.TempDir(), "a")
	_, err = b.Push(t.Context(), img.ID, ref, builder.PushOptions{})
	ok(t, err)
	warned()
	_, err = b.Pull(t.Context(), ref, builder.PullOptions{})
	ok(t, err)
	equal(t, warned(), "")
	// The same in an archive.
	added := base(t, b)
	ok(t, errOf(added.Add(t.Context(), "/", packedFile(tarOf(t, entries[:2]...)))))
	equal(t, sh(t, added, "cat /etc/new /etc/passwd"), "n"+passwd)
	equal(t, attributesOf(t, b, added), "etc/ user.mine\netc/new user.mine")
	if text := warned(); strings.Count(text, "storage drivers") != 1 {
		t.Errorf("warned of %q", text)
	}
}

// Archives as tar(1) and others make them.
func TestForeignArchives(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"f": "", "tree/a": "a", "tree/b": "b"})
	for _, script := range []string{
		"printf begin >f; truncate -s 3M f; printf end >>f",
		"for s in gnu 'posix --sparse-version=0.0' 'posix --sparse-version=0.1' 'posix --sparse-version=1.0'; do n=$(echo $s | tr -dc a-z0-9); tar --sparse --format=$s -cf $n f; done",
		"tar -V label --format=gnu -C tree -cf label .; tar -G --format=gnu -C tree -cf dump .; tar --format=v7 -C tree -cf v7 .",
		"gzip -c v7 >v7.gz; cp v7.gz garbage.gz; printf 'what is no gzip' >>garbage.gz; head -c 700 v7 | gzip >two.gz; tail -c +701 v7 | gzip >>two.gz",
		"cp v7 zeros; truncate -s +100K zeros; cp v7 after; printf 'not zeros' >>after; head -c 1024 /dev/zero >empty",
		"head -c -4 v7.gz >cut.gz; head -c -8 v7.gz >sum.gz; printf '\\0\\0\\0\\0\\0\\0\\0\\0' >>sum.gz",
	} {
		cmd := exec.Command("sh", "-ec", script)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	b := open(t)
	sum := func(s *builder.Stage) string { return sh(t, s, "cd /out && stat -c '%n %s' * && cat * | tr -d '\\0'") }
	for name, want := range map[string]string{
		"gnu": "f 3145731\nbeginend", "posixsparseversion00": "f 3145731\nbeginend", "posixsparseversion01": "f 3145731\nbeginend", "posixsparseversion10": "f 3145731\nbeginend",
		"label": "a 1\nb 1\nab", "dump": "a 1\nb 1\nab", "v7": "a 1\nb 1\nab", "v7.gz": "a 1\nb 1\nab", "two.gz": "a 1\nb 1\nab",
		"garbage.gz": "a 1\nb 1\nab", "zeros": "a 1\nb 1\nab", "after": "a 1\nb 1\nab", "empty": "empty 1024\n",
	} {
		s := base(t, b)
		ok(t, errOf(s.Add(t.Context(), "/out/", builder.Dir(dir).Select(name))))
		if got := sum(s); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"cut.gz", "sum.gz"} {
		is(t, errOf(base(t, b).Add(t.Context(), "/out/", builder.Dir(dir).Select(name))), builder.ErrInvalid)
	}
}

func TestOddEntriesOfArchives(t *testing.T) {
	t.Parallel()
	b := open(t)
	long := strings.Repeat("long/", 50) + strings.Repeat("n", 255)
	s := base(t, b)
	ok(t, errOf(s.Add(t.Context(), "/out", packedFile(tarOf(t,
		tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax/GlobalHead", PAXRecords: map[string]string{"comment": "c", "path": "/other"}},
		tar.Header{Name: "/absolute", Typeflag: tar.TypeReg, Linkname: "a"},
		tar.Header{Name: "twice", Typeflag: tar.TypeReg, Linkname: "first"},
		tar.Header{Name: "dir/f", Typeflag: tar.TypeReg, Linkname: "in"},
		tar.Header{Name: "twice", Typeflag: tar.TypeReg, Linkname: "2"},
		tar.Header{Name: long, Typeflag: tar.TypeReg, Linkname: "l"},
		tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "/absolute"},
		tar.Header{Name: "big", Typeflag: tar.TypeReg, Uid: 65000, Gid: 60000, Format: tar.FormatGNU},
		tar.Header{Name: "old", Typeflag: tar.TypeReg, ModTime: time.Unix(-1000, 0), Format: tar.FormatPAX},
		tar.Header{Name: "dir", Typeflag: tar.TypeDir, Mode: 0o750},
		tar.Header{Name: "../../up", Typeflag: tar.TypeReg},
	)))))
	equal(t, sh(t, s, "cd /out; ls; cat absolute twice dir/f "+long+"; test absolute -ef hard && stat -c '%u:%g' big; stat -c %a dir; ls /"),
		"absolute\nbig\ndir\nhard\nlong\nold\ntwice\nup\na2inl65000:60000\n750\nbin\ndev\netc\nhome\nout\nproc\nroot\nsys\ntmp\n")
	// What cannot be is said of its entry, and leaves the stage as it was.
	for want, header := range map[string]tar.Header{
		"4294967290:0": {Name: "f", Typeflag: tar.TypeReg, Uid: 4294967290, Format: tar.FormatGNU},
		"hard":         {Name: "hard", Typeflag: tar.TypeLink, Linkname: "later"},
		"'Z'":          {Name: "z", Typeflag: 'Z'},
		"too long":     {Name: strings.Repeat("n", 300), Typeflag: tar.TypeReg},
	} {
		if want == "4294967290:0" && !rootless() {
			continue // root of the machine has all ids
		}
		_, err := s.Add(t.Context(), "/more/", packedFile(tarOf(t, tar.Header{Name: "first", Typeflag: tar.TypeReg, Linkname: "x"}, header)))
		is(t, err, builder.ErrInvalid)
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	ok(t, errOf(s.Add(t.Context(), "/own/", packedFile(tarOf(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Uid: 4294967290, Format: tar.FormatGNU})).Chown("3:4"))))
	equal(t, find(t, s, "/own")+sh(t, s, "ls -d /more 2>&1; true"), "f 644 3:4 f\nls: /more: No such file or directory\n")
}

// Bombs end in an error, and soon.
func TestArchiveBombs(t *testing.T) {
	t.Parallel()
	b := open(t)
	var members bytes.Buffer
	z := gzip.NewWriter(&members)
	_, err := z.Write(tarOf(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Linkname: "x"}))
	ok(t, err)
	ok(t, z.Close())
	var nothing bytes.Buffer
	ok(t, gzip.NewWriter(&nothing).Close())
	many := append(bytes.Repeat(nothing.Bytes(), 100000), members.Bytes()...)
	sparse := filepath.Join(t.TempDir(), "sparse")
	make1T := exec.Command("sh", "-ec", "truncate -s 1T f; tar --sparse -cf "+sparse+" f")
	make1T.Dir = t.TempDir()
	if out, err := make1T.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	within(t, time.Minute, func() {
		s := base(t, b)
		ok(t, errOf(s.Add(t.Context(), "/many/", packedFile(many))))
		equal(t, sh(t, s, "cat /many/f"), "x")
		_, err := s.Add(t.Context(), "/sparse/", builder.Dir(filepath.Dir(sparse)).Select("sparse"))
		is(t, err, builder.ErrInvalid)
		if err != nil && !strings.Contains(err.Error(), "1099511627776 bytes") {
			t.Error(err)
		}
		is(t, errOf(s.Add(t.Context(), "/deep/", packedFile(tarOf(t, tar.Header{Name: strings.Repeat("d/", 10000) + "f", Typeflag: tar.TypeReg})))), builder.ErrUnfit)
	})
}

// What is too much is the user's to say.
func TestArchiveLimits(t *testing.T) {
	t.Parallel()
	b := openIn(t, builder.Options{Root: tempDir(t), Isolation: isolation.Choice{Most: isolation.Chroot}, DriverOptions: []string{"tree.layer_files=2", "tree.layer_size=100"}})
	one, two, large := tar.Header{Name: "1", Typeflag: tar.TypeReg, Linkname: "x"}, tar.Header{Name: "2", Typeflag: tar.TypeDir}, tar.Header{Name: "3", Typeflag: tar.TypeReg, Linkname: strings.Repeat("x", 100)}
	s := scratch(t, b)
	ok(t, errOf(s.Add(t.Context(), "/", packedFile(tarOf(t, two, large)))))
	ok(t, errOf(s.Copy(t.Context(), "/", builder.Tar(bytes.NewReader(tarOf(t, two, large))))))
	for want, entries := range map[string][]tar.Header{"more than 2 files": {one, two, {Name: "4", Typeflag: tar.TypeDir}}, "more than 100 bytes": {large, one}} {
		_, added := s.Add(t.Context(), "/", packedFile(tarOf(t, entries...)))
		_, read := s.Copy(t.Context(), "/", builder.Tar(bytes.NewReader(tarOf(t, entries...))))
		for _, err := range []error{added, read} {
			is(t, err, builder.ErrInvalid)
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %s", err, want)
			}
		}
	}
}
