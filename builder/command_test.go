//go:build linux

package builder_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// programs has dynamic, made by a C compiler, and other, of another architecture.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "main.c")
	ok(t, os.WriteFile(source, []byte("int main(void) { return 0; }\n"), 0o644))
	if out, err := exec.Command("gcc", "-o", filepath.Join(dir, "dynamic"), source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	other, err := os.ReadFile(busyboxPath)
	ok(t, err)
	other[18] = 0xb7 // e_machine: EM_AARCH64
	if runtime.GOARCH == "arm64" {
		other[18] = 0x3e // EM_X86_64
	}
	ok(t, os.WriteFile(filepath.Join(dir, "other"), other, 0o755))
	ok(t, os.WriteFile(filepath.Join(dir, "run.sh"), []byte("#!/bin/bash\n"), 0o755))
	return dir
}

// TestCheckCommand checks commands in real stages; package runnable tests the rules.
func TestCheckCommand(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/opt/", builder.Dir(programs(t)))))
	for _, c := range []struct {
		name   string
		change func(*builder.Config)
		want   string
	}{
		{"none", func(*builder.Config) {}, ""},
		{"static", func(c *builder.Config) { c.Cmd = []string{"/bin/busybox", "true"} }, ""},
		{"shell form", func(c *builder.Config) { c.Cmd = []string{"/bin/sh", "-c", "httpd -f"} }, ""},
		{"missing", func(c *builder.Config) { c.Cmd = []string{"/opt/app"} }, "/opt/app is not in the image"},
		{"by PATH", func(c *builder.Config) { c.Cmd = []string{"dynamic"}; c.Env = []string{"PATH=/opt"} }, "/opt/dynamic needs the dynamic linker"},
		{"other architecture", func(c *builder.Config) { c.Entrypoint = []string{"/opt/other"}; c.Cmd = []string{"x"} }, "/opt/other is for"},
		{"relative", func(c *builder.Config) { c.Cmd = []string{"./run.sh"}; c.WorkingDir = "/opt" }, "/opt/run.sh needs /bin/bash"},
		{"in a volume", func(c *builder.Config) {
			c.Cmd, c.Volumes = []string{"/data/app"}, map[string]struct{}{"/data": {}}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Configure("", func(config *builder.Config) {
				*config = builder.Config{}
				c.change(config)
			})
			for range 2 { // the second answer may be a remembered one
				got, err := s.CheckCommand(t.Context())
				ok(t, err)
				switch {
				case c.want == "" && len(got) > 0:
					t.Errorf("problems %q", got)
				case c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)):
					t.Errorf("problems %q, want one with %q", got, c.want)
				}
			}
		})
	}
	s.Configure("", func(c *builder.Config) { *c = builder.Config{Cmd: []string{"/opt/app"}} })
	ok(t, errOf(s.Copy(t.Context(), "/opt/app", builder.Dir("/bin").Select("busybox"))))
	if got, err := s.CheckCommand(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("after the program came: %q, %v", got, err)
	}
	empty := scratch(t, b)
	empty.Configure("", func(c *builder.Config) { c.Cmd = []string{"/app"} })
	if got, err := empty.CheckCommand(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("in nothing: %q, %v", got, err)
	}
	equal(t, s.Platform(), "linux/"+runtime.GOARCH)
}

// BenchmarkCheckCommand measures a command that was found fine before.
func BenchmarkCheckCommand(b *testing.B) {
	s := base(b, open(b))
	s.Configure("", func(c *builder.Config) { c.Cmd = []string{"/bin/sh", "-c", "httpd -f"} })
	for b.Loop() {
		if got, err := s.CheckCommand(b.Context()); err != nil || len(got) > 0 {
			b.Fatal(got, err)
		}
	}
}

// BenchmarkCheckBrokenCommand measures one that is looked at each time.
func BenchmarkCheckBrokenCommand(b *testing.B) {
	s := base(b, open(b))
	s.Configure("", func(c *builder.Config) { c.Cmd = []string{"/app"} })
	for b.Loop() {
		if got, err := s.CheckCommand(b.Context()); err != nil || len(got) != 1 {
			b.Fatal(got, err)
		}
	}
}
