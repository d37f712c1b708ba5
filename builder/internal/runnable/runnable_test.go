//go:build linux

package runnable

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// muslLinker is one that this machine has not: a program linked for it is not run.
const muslLinker = "/lib/ld-musl-x86_64.so.1"

// ldCache is an ld.so.cache with one library.
func ldCache(library string) string {
	cache := make([]byte, cacheHeader+cacheEntry)
	copy(cache, cacheMagic)
	binary.NativeEndian.PutUint32(cache[20:], 1)
	binary.NativeEndian.PutUint32(cache[cacheHeader+8:], uint32(len(cache)))
	return string(cache) + library + "\x00"
}

// fixture compiles programs once: all are what a C compiler makes by default.
type fixture struct {
	dir     string
	linker  string            // the path of this machine's dynamic linker
	files   map[string][]byte // by name
	library string            // the path of libc.so.6
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir(), files: map[string][]byte{}}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("own.c", "int own(void) { return 0; }")
	write("main.c", "int own(void);\nint main(void) { return own(); }")
	write("plain.c", "int main(void) { return 0; }")
	cc := func(args ...string) {
		cmd := exec.Command("gcc", args...)
		cmd.Dir = f.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("gcc %v: %v\n%s", args, err, out)
		}
	}
	cc("-shared", "-fPIC", "-Wl,-soname,libown.so.1", "-o", "libown.so.1", "own.c")
	cc("-o", "dynamic", "plain.c")
	cc("-static", "-o", "static", "plain.c")
	cc("-o", "uses", "main.c", "libown.so.1")
	cc("-o", "runpath", "main.c", "libown.so.1", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib/own")
	cc("-o", "rpath", "main.c", "libown.so.1", "-Wl,--disable-new-dtags,-rpath,/opt/own")
	cc("-o", "musl", "main.c", "libown.so.1", "-Wl,--dynamic-linker="+muslLinker)
	for _, name := range []string{"libown.so.1", "musl", "dynamic", "static", "uses", "runpath", "rpath"} {
		data, err := os.ReadFile(filepath.Join(f.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		f.files[name] = data
	}
	o, err := parse(bytes.NewReader(f.files["dynamic"]))
	if err != nil || len(o.needed) != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	f.linker = o.interp
	f.library = filepath.Join("/lib", machines[runtime.GOARCH].triplet, "libc.so.6")
	for _, name := range []string{f.linker, f.library} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f.files[name] = data
	}
	foreign := bytes.Clone(f.files["static"])
	machine := elf.EM_AARCH64
	if runtime.GOARCH == "arm64" {
		machine = elf.EM_X86_64
	}
	foreign[18], foreign[19] = byte(machine), 0
	f.files["foreign"] = foreign
	return f
}

// root makes a directory of files: a path and what it holds: a file of the fixture, "-> "
// and a link's target, or a text. Files in a directory etc are not executable.
func (f *fixture) root(t *testing.T, files ...string) *os.File {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		name, content := filepath.Join(dir, files[i]), []byte(files[i+1])
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if data, ok := f.files[files[i+1]]; ok {
			content = data
		}
		mode := os.FileMode(0o755)
		if strings.HasPrefix(files[i], "/etc/") {
			mode = 0o644
		}
		err := error(nil)
		if target, ok := strings.CutPrefix(files[i+1], "-> "); ok {
			err = os.Symlink(target, name)
		} else {
			err = os.WriteFile(name, content, mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestCheck(t *testing.T) {
	f := newFixture(t)
	libc := []string{f.linker, f.linker, f.library, f.library}
	with := func(base []string, more ...string) []string { return append(base[:len(base):len(base)], more...) }
	for _, c := range []struct {
		name  string
		files []string
		args  []string
		set   func(*Command)
		want  string // a part of the only problem; "" is none
	}{
		{"static", []string{"/app", "static"}, []string{"/app"}, nil, ""},
		{"missing", nil, []string{"/app"}, nil, "/app is not in the image"},
		{"relative", []string{"/srv/app", "static"}, []string{"./app"}, func(c *Command) { c.Dir = "/srv" }, ""},
		{"relative, missing", []string{"/srv/app", "static"}, []string{"./app"}, nil, "./app is not in the image"},
		{"by PATH", []string{"/usr/bin/app", "static"}, []string{"app"}, nil, ""},
		{"not in PATH", []string{"/opt/app", "static"}, []string{"app"}, nil, "app is in no directory of PATH (/usr/local/sbin:"},
		{"own PATH", []string{"/opt/app", "static"}, []string{"app"}, func(c *Command) { c.Env = []string{"PATH=/bin:/opt"} }, ""},
		{"link", []string{"/bin/real", "static", "/app", "-> /bin/real"}, []string{"/app"}, nil, ""},
		{"dangling link", []string{"/app", "-> /bin/real"}, []string{"/app"}, nil, "/app is not in the image"},
		{"link to a runtime's file", []string{"/app", "-> /run/real"}, []string{"/app"}, nil, ""},
		{"directory", []string{"/app/x", "x"}, []string{"/app"}, nil, "/app is a directory"},
		{"not executable", []string{"/etc/app", "static"}, []string{"/etc/app"}, nil, "/etc/app is not executable"},
		{"empty", []string{"/app", ""}, []string{"/app"}, nil, "/app is empty"},
		{"other architecture", []string{"/app", "foreign"}, []string{"/app"}, nil, "/app is for "},
		{"other image", []string{"/app", "static"}, []string{"/app"}, func(c *Command) { c.Arch = "s390x" }, "and the image for s390x"},
		{"unknown architecture", []string{"/app", "static"}, []string{"/app"}, func(c *Command) { c.Arch = "vax" }, ""},
		{"variable", nil, []string{"$APP"}, nil, ""},
		{"no command", nil, nil, nil, ""},
		{"in a volume", nil, []string{"/data/app"}, func(c *Command) { c.Volumes = []string{"/data"} }, ""},

		{"dynamic", with(libc, "/app", "dynamic"), []string{"/app"}, nil, ""},
		{"no linker", []string{"/app", "dynamic"}, []string{"/app"}, nil, "/app needs the dynamic linker " + f.linker},
		{"no libc", []string{f.linker, f.linker, "/app", "dynamic"}, []string{"/app"}, nil, "/app needs the shared library libc.so.6"},
		{"no library", with(libc, "/app", "uses"), []string{"/app"}, nil, "/app needs the shared library libown.so.1"},
		{"library", with(libc, "/app", "uses", "/usr/lib/libown.so.1", "libown.so.1"), []string{"/app"}, nil, ""},
		{"foreign library", with(libc, "/app", "uses", "/usr/lib/libown.so.1", "foreign"), []string{"/app"}, nil, "libown.so.1"},
		{"ld.so.conf", with(libc, "/app", "uses", "/opt/x/libown.so.1", "libown.so.1", "/etc/ld.so.conf", "include ld.so.conf.d/*.conf\n", "/etc/ld.so.conf.d/a.conf", "# own\n/opt/x\n"), []string{"/app"}, nil, ""},
		{"ld.so.cache", with(libc, "/app", "uses", "/opt/x/libown.so.1", "libown.so.1", "/etc/ld.so.cache", ldCache("/opt/x/libother.so")), []string{"/app"}, nil, ""},
		{"LD_LIBRARY_PATH", with(libc, "/app", "uses", "/opt/x/libown.so.1", "libown.so.1"), []string{"/app"}, func(c *Command) { c.Env = []string{"LD_LIBRARY_PATH=/a:/opt/x"} }, ""},
		{"DT_RUNPATH with $ORIGIN", with(libc, "/opt/bin/app", "runpath", "/opt/lib/own/libown.so.1", "libown.so.1"), []string{"/opt/bin/app"}, nil, ""},
		{"DT_RUNPATH, elsewhere", with(libc, "/opt/bin/app", "runpath", "/lib/own/libown.so.1", "libown.so.1"), []string{"/opt/bin/app"}, nil, "libown.so.1"},
		{"DT_RPATH", with(libc, "/app", "rpath", "/opt/own/libown.so.1", "libown.so.1"), []string{"/app"}, nil, ""},
		{"library in a volume", with(libc, "/app", "rpath"), []string{"/app"}, func(c *Command) { c.Volumes = []string{"/opt/own"} }, ""},
		{"musl", []string{muslLinker, "static", "/app", "musl", "/usr/local/lib/libown.so.1", "libown.so.1"}, []string{"/app"}, nil, ""},
		{"musl, no library", []string{muslLinker, "static", "/app", "musl", "/usr/local/lib64/libown.so.1", "libown.so.1"}, []string{"/app"}, nil, "shared library libown.so.1, not"},
		{"musl, own path", []string{muslLinker, "static", "/app", "musl", "/opt/libown.so.1", "libown.so.1", "/etc/ld-musl-x86_64.path", "/lib\n/opt\n"}, []string{"/app"}, nil, ""},
		{"musl in a glibc image", with(libc, "/app", "musl"), []string{"/app"}, nil, "it is linked with musl"},
		{"other linker", []string{"/ld", "static", f.linker, "-> /ld", "/app", "dynamic"}, []string{"/app"}, nil, ""},
		{"library through a library", with(libc, "/app", "uses", "/usr/lib/libown.so.1", "uses"), []string{"/app"}, nil, ""},
		{"gcompat", []string{"/lib/ld-musl-x.so.1", f.linker, f.linker, "-> /lib/ld-musl-x.so.1", "/app", "dynamic"}, []string{"/app"}, nil, ""},

		{"script", []string{"/bin/sh", "static", "/run.sh", "#!/bin/sh\ntrue\n"}, []string{"/run.sh"}, nil, ""},
		{"no interpreter", []string{"/run.sh", "#!/bin/bash\ntrue\n"}, []string{"/run.sh"}, nil, "/run.sh needs /bin/bash, which is not in the image"},
		{"interpreter without linker", []string{"/bin/sh", "dynamic", "/run.sh", "#! /bin/sh -e\n"}, []string{"/run.sh"}, nil, "/bin/sh needs the dynamic linker"},
		{"script of a script", []string{"/a", "#!/b\n", "/b", "#!/c\n"}, []string{"/a"}, nil, "/b needs /c"},
		{"endless script", []string{"/a", "#!/a\n"}, []string{"/a"}, nil, ""},
		{"Windows line ends", []string{"/bin/sh", "static", "/run.sh", "#!/bin/sh\r\ntrue\r\n"}, []string{"/run.sh"}, nil, "Windows line ends"},
		{"no #!", []string{"/run.sh", "echo hello\n"}, []string{"/run.sh"}, nil, "/run.sh is a text without a #! line"},
		{"env", []string{"/usr/bin/env", "static", "/bin/python3", "static", "/run", "#!/usr/bin/env python3\n"}, []string{"/run"}, nil, ""},
		{"env, missing", []string{"/usr/bin/env", "static", "/run", "#!/usr/bin/env python3\n"}, []string{"/run"}, nil, "/run needs python3, which is in no directory"},
		{"env -S", []string{"/usr/bin/env", "static", "/run", "#!/usr/bin/env -S python3 -u\n"}, []string{"/run"}, nil, "/run needs python3"},
		{"env with a variable", []string{"/usr/bin/env", "static", "/run", "#!/usr/bin/env -S A=b python3\n"}, []string{"/run"}, nil, ""},
		{"other format", []string{"/app", "\x00asm\x01"}, []string{"/app"}, nil, ""},

		{"shell", []string{"/bin/dash", "static", "/bin/sh", "-> dash", "/app", "static"}, []string{"/bin/sh", "-c", "exec /app --x $Y"}, nil, ""},
		{"no shell", []string{"/app", "static"}, []string{"/bin/sh", "-c", "/app"}, nil, "/bin/sh is not in the image"},
		{"shell, missing", []string{"/bin/dash", "static", "/bin/sh", "-> dash"}, []string{"/bin/sh", "-ec", "app --x"}, nil, "app is in no directory"},
		{"shell, a builtin", []string{"/bin/dash", "static", "/bin/sh", "-> dash"}, []string{"/bin/sh", "-c", "cd /x && app"}, nil, ""},
		{"shell, several", []string{"/bin/dash", "static", "/bin/sh", "-> dash"}, []string{"/bin/sh", "-c", "app || true"}, nil, ""},
		{"shell, a variable", []string{"/bin/dash", "static", "/bin/sh", "-> dash"}, []string{"/bin/sh", "-c", "$APP --x"}, nil, ""},
		{"shell, a text", []string{"/bin/dash", "static", "/bin/sh", "-> dash", "/run", "echo a\n"}, []string{"/bin/sh", "-c", "/run"}, nil, ""},
		{"login shell", []string{"/bin/dash", "static", "/bin/sh", "-> dash"}, []string{"/bin/sh", "-lc", "app"}, nil, ""},
		{"applet", []string{"/bin/busybox", "static", "/bin/sh", "-> busybox"}, []string{"/bin/sh", "-c", "httpd -f"}, nil, ""},
		{"applet's shell, a path", []string{"/bin/busybox", "static", "/bin/sh", "-> busybox"}, []string{"/bin/sh", "-c", "/app"}, nil, "/app is not in the image"},
		{"other user's name", nil, []string{"/a\x1b[31m"}, nil, `"/a\x1b[31m" is not in the image`},
	} {
		t.Run(c.name, func(t *testing.T) {
			command := Command{Args: c.args, Arch: runtime.GOARCH}
			if c.set != nil {
				c.set(&command)
			}
			got := Check(f.root(t, c.files...), command)
			switch {
			case c.want == "" && len(got) > 0:
				t.Errorf("problems: %q", got)
			case c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)):
				t.Errorf("problems: %q, want one with %q", got, c.want)
			}
		})
	}
}

// TestOutside checks that links do not lead out of the root.
func TestOutside(t *testing.T) {
	f := &fixture{}
	root := f.root(t, "/app", "-> ../../../../../../../../bin/sh")
	if got := Check(root, Command{Args: []string{"/app"}, Arch: runtime.GOARCH}); len(got) != 1 {
		t.Errorf("problems: %q", got)
	}
}

func TestCacheDirs(t *testing.T) {
	cache, err := os.ReadFile("/etc/ld.so.cache")
	if err != nil {
		t.Fatal(err)
	}
	dirs := strings.Join(cacheDirs(cache), ":")
	if !strings.Contains(dirs, "/lib/"+machines[runtime.GOARCH].triplet) {
		t.Errorf("directories %s", dirs)
	}
}

// FuzzELF checks that no file makes the parser panic or read without bounds.
func FuzzELF(f *testing.F) {
	for _, name := range []string{"/bin/true", "/bin/busybox"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:min(len(data), 8<<10)])
	}
	f.Add([]byte("\x7fELF\x01\x01\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := parse(bytes.NewReader(data))
		if err != nil {
			return
		}
		if len(o.needed) > maxNeeded || len(o.interp) > maxText {
			t.Errorf("%d needed, interpreter of %d bytes", len(o.needed), len(o.interp))
		}
		archOf(o)
	})
}

// FuzzCache is FuzzELF for ld.so.cache.
func FuzzCache(f *testing.F) {
	f.Add([]byte(cacheMagic + strings.Repeat("\x01", 100) + "/lib/a\x00"))
	f.Fuzz(func(_ *testing.T, data []byte) { cacheDirs(data) })
}

// FuzzScript checks scripts and commands of any text.
func FuzzScript(f *testing.F) {
	f.Add("#!/usr/bin/env -S a b\n", "/bin/sh", "exec a")
	f.Add("#! /a \r\n", "/a", "-c")
	f.Fuzz(func(t *testing.T, text, program, script string) {
		x := &fixture{}
		root := x.root(t, "/a", text, "/usr/bin/env", "#!/a", "/bin/sh", "#!/a x\n")
		for _, p := range Check(root, Command{Args: []string{program, "-c", script}, Arch: runtime.GOARCH}) {
			if strings.ContainsAny(p, "\x1b\n\r\x00") {
				t.Errorf("problem %q", p)
			}
		}
	})
}
