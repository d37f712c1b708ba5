package plan

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/dockerfile/internal/runflags"
)

// FuzzParse looks for Dockerfiles that crash the plan, and checks what every plan
// and every fault holds: that a stage needs only stages before it, and that a
// fault's lines are lines of the file.
func FuzzParse(f *testing.F) {
	f.Add("ARG A=1\nFROM x AS a\nARG A\nONBUILD COPY --from=y . /\nFROM a\nRUN <<E\n$A\nE\n", "", "A")
	f.Fuzz(func(t *testing.T, text, target, arg string) {
		p, err := newPlan([]byte(text), Options{Target: target, Args: map[string]string{arg: "value"}})
		if p != nil { // which checks look at even with a fault
			p.FromNames()
			p.DefaultBases()
		}
		if err != nil {
			checkFault(t, text, err)
			return
		}
		needed := p.Needed()
		if len(needed) == 0 || needed[len(needed)-1] != p.Target {
			t.Fatalf("the target is not the last of what is needed: %s", names(needed))
		}
		for _, s := range needed {
			if (s.Base == nil) == (s.Image == "") || (s.Base != nil && s.Base.Index >= s.Index) {
				t.Fatalf("stage %d starts from %v and %q", s.Index, s.Base, s.Image)
			}
			walk(t, p, s)
		}
		p.Unused()
		p.ProxyEnv()
	})
}

// walk does what a build does with a stage's instructions.
func walk(t *testing.T, p *Plan, s *Stage) {
	scope := p.Scope(nil, []string{"PATH=/bin"})
	for _, c := range s.Commands {
		for _, from := range c.From {
			if from == nil || from.Index >= s.Index {
				t.Fatalf("stage %d takes files from %+v", s.Index, from)
			}
		}
		expanded, err := scope.Expand(c)
		if err != nil {
			return
		}
		switch ic := expanded.(type) {
		case *instructions.ArgCommand:
			if _, err := scope.Declare(ic); err != nil {
				return
			}
		case *instructions.RunCommand:
			args, _, err := RunArgs(ic, nil)
			if err != nil || len(args) == 0 {
				t.Fatalf("RUN without arguments passed the plan: %v", err)
			}
			_, _ = scope.RunHistory(args)
			if mounts, err := scope.Mounts(c); err == nil {
				checkMade(t, c, mounts)
			}
		case *instructions.CopyCommand, *instructions.AddCommand:
			_ = CheckFiles(ic)
		case *instructions.OnbuildCommand:
			_, _ = p.Triggers(s, []string{ic.Expression})
		}
	}
	scope.RunEnv(nil)
}

// checkMade checks what holds for the mounts of a RUN.
func checkMade(t *testing.T, c Command, mounts []runflags.Mount) {
	if len(mounts) != len(c.mounts) {
		t.Fatalf("%q makes %d mounts", c.mounts, len(mounts))
	}
	from := 0
	for _, m := range mounts {
		if m.HasFrom {
			from++
		}
		if m.Partial || m.Target != "" && path.Clean(m.Target) != m.Target || m.Target == "" && m.Type != runflags.SSH && m.Env == "" {
			t.Fatalf("%q makes %+v", c.mounts, m)
		}
		source := path.Clean(m.Source)
		if source == ".." || strings.HasPrefix(source, "../") || m.Mode&^(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 || m.Size < 0 || m.UID < 0 || m.GID < 0 {
			t.Fatalf("%q makes %+v", c.mounts, m)
		}
	}
	if from != len(c.From) {
		t.Fatalf("%q is from %d, and %v is awaited", c.mounts, from, c.From)
	}
}

// FuzzMount looks for mounts that crash, and checks what holds for those that are taken.
func FuzzMount(f *testing.F) {
	f.Add("type=cache,target=$V", "/c")
	f.Fuzz(func(t *testing.T, mount, value string) {
		if strings.ContainsAny(mount, "\t\r\n\\") || strings.ContainsAny(value, "\r\n\\'\"$") {
			return // it would be something else in the file
		}
		p, err := newPlan([]byte("FROM a AS one\nFROM b\nARG V='"+value+"'\nRUN --mount="+mount+" x\n"), Options{Args: map[string]string{cacheNamespaceArg: "ns"}})
		if err == nil {
			walk(t, p, p.Target)
		}
	})
}

func checkFault(t *testing.T, text string, err error) {
	var f *Fault
	if !errors.As(err, &f) || f.Err == nil || f.Error() == "" {
		t.Fatalf("%v is no *Fault", err)
	}
	if count := strings.Count(text, "\n") + 1; f.Line < 0 || f.End < f.Line || f.End > count {
		t.Fatalf("lines %d to %d of %d: %v", f.Line, f.End, count, err)
	}
}
