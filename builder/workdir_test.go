//go:build linux

package builder_test

import (
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

func TestWorkdir(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		user string
		dirs []string
		want string // the working directory
		stat string // of what was made
	}{
		{"absolute", "", []string{"/a/b"}, "/a/b", "755 0:0 /a,755 0:0 /a/b"},
		{"relative to the root", "", []string{"a"}, "/a", "755 0:0 /a"},
		{"relative to the last", "", []string{"/a", "b", "../c"}, "/a/c", "755 0:0 /a,755 0:0 /a/b,755 0:0 /a/c"},
		{"no way out", "", []string{"../../../a"}, "/a", "755 0:0 /a"},
		{"a slash at the end", "", []string{"/a/"}, "/a/", "755 0:0 /a"},
		{"the user's", "app", []string{"/a/b"}, "/a/b", "755 1000:1001 /a,755 1000:1001 /a/b"},
		{"a number's", "7:8", []string{"/home/x"}, "/home/x", "755 0:0 /home,755 7:8 /home/x"},
		{"existing", "app", []string{"/root"}, "/root", "755 0:0 /root"},
		{"through a link", "", []string{"/link/x"}, "/link/x", "755 0:0 /home/app/x"},
		{"through a link out", "", []string{"/out/x"}, "/out/x", "777 0:0 /out,755 0:0 /var,755 0:0 /var/tmp,755 0:0 /var/tmp/x"},
	}
	b := open(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := base(t, b)
			run(t, s, "ln -s ../../../../home/app /link; ln -s ../../../../../var/tmp /out")
			s.Configure("", func(c *builder.Config) { c.User = test.user })
			for _, dir := range test.dirs {
				ok(t, errOf(s.Workdir(t.Context(), dir, "")))
			}
			equal(t, s.Config().WorkingDir, test.want)
			s.Configure("", func(c *builder.Config) { c.User = "" })
			var paths []string
			for line := range strings.SplitSeq(test.stat, ",") {
				paths = append(paths, strings.Fields(line)[2])
			}
			equal(t, sh(t, s, "stat -c '%a %u:%g %n' "+strings.Join(paths, " ")), strings.ReplaceAll(test.stat, ",", "\n")+"\n")
		})
	}
}

func TestWorkdirErrors(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	is(t, errOf(s.Workdir(t.Context(), "/bin/busybox", "")), builder.ErrInvalid)
	is(t, errOf(s.Workdir(t.Context(), "/bin/busybox/x", "")), builder.ErrInvalid)
	run(t, s, "ln -s loop /loop")
	is(t, errOf(s.Workdir(t.Context(), "/loop/x", "")), builder.ErrInvalid)
	equal(t, s.Config().WorkingDir, "")
}

// A directory that is there makes no layer, and the history says so.
func TestWorkdirLayers(t *testing.T) {
	t.Parallel()
	b := open(t)
	for _, want := range []bool{false, true} {
		s := base(t, b)
		step, err := s.Workdir(t.Context(), "/root", "")
		ok(t, err)
		if step.Cached != want {
			t.Errorf("the existing directory's step: cached %v, want %v", step.Cached, want)
		}
		step, err = s.Workdir(t.Context(), "/new", "")
		ok(t, err)
		if step.Cached != want {
			t.Errorf("the new directory's step: cached %v, want %v", step.Cached, want)
		}
		img, err := s.Commit(t.Context(), "workdir", builder.CommitOptions{})
		ok(t, err)
		d, err := b.Inspect(t.Context(), img.ID)
		ok(t, err)
		equal(t, history(d), "COPY . /\n(empty) WORKDIR /root\nWORKDIR /new\n")
		if len(d.Layers) != 2 {
			t.Errorf("%d layers, want 2", len(d.Layers))
		}
		ok(t, s.Close())
	}
}

// history shows an image's history, one entry a line.
func history(d builder.ImageDetail) string {
	var out strings.Builder
	for _, h := range d.History {
		if h.EmptyLayer {
			out.WriteString("(empty) ")
		}
		out.WriteString(h.CreatedBy + "\n")
	}
	return out.String()
}
