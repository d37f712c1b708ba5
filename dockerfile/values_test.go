package dockerfile

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/limits"
)

func TestSourceDateEpoch(t *testing.T) {
	at := func(seconds int64) *time.Time { t := time.Unix(seconds, 0); return &t }
	tests := []struct {
		name, text     string
		arg            string
		timestamp      *time.Time
		rewrite        bool
		created, limit *time.Time
		all            bool
	}{
		{name: "none", text: "FROM base\n"},
		{name: "argument", text: "FROM base\n", arg: "5", created: at(5)},
		{name: "default of the header", text: "ARG X=1\nARG SOURCE_DATE_EPOCH=${X}2\nFROM base\n", created: at(12)},
		{name: "argument over the header's", text: "ARG SOURCE_DATE_EPOCH=6\nFROM base\n", arg: "5", rewrite: true, created: at(5), limit: at(5)},
		{name: "default of a stage", text: "FROM base\nARG SOURCE_DATE_EPOCH=6\n"},
		{name: "blank", text: "ARG SOURCE_DATE_EPOCH=\nFROM base\n"},
		{name: "timestamp", text: "FROM base\n", arg: "5", timestamp: at(7), created: at(7), limit: at(7), all: true},
	}
	same := func(a, b *time.Time) bool { return (a == nil) == (b == nil) && (a == nil || a.Equal(*b)) }
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{images: map[string]builder.Config{"base": {}}}
			opts := Options{Context: Context{Dir: t.TempDir()}, Steps: Steps{Jobs: 1}, Image: Image{Timestamp: tt.timestamp, RewriteTimes: tt.rewrite}}
			if tt.arg != "" {
				opts.BuildArgs = arguments(map[string]string{"SOURCE_DATE_EPOCH": tt.arg})
			}
			opts.Progress = func(e Event) {
				if e.Kind == Warning && strings.Contains(e.Text, "SOURCE_DATE_EPOCH") {
					t.Errorf("warning: %s", e.Text)
				}
			}
			r, err := newBuilding(t.Context(), f.builder(t), opts, loadText(t, tt.text, opts), "", newShared(opts))
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			target, err := r.stages(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.commit(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			if got := f.commits[0].Created; !same(got, tt.created) {
				t.Errorf("created %v, want %v", got, tt.created)
			}
			if got := f.ops[0].Options; !same(got.LatestTime, tt.limit) || got.AllTimes != tt.all {
				t.Errorf("files have %v (all %v), want %v", got.LatestTime, got.AllTimes, tt.limit)
			}
		})
	}
}

// TestSourceDateEpochSources: what is no number is the name of a source.
func TestSourceDateEpochSources(t *testing.T) {
	for text, says := range map[string]string{
		"ARG SOURCE_DATE_EPOCH=none\nFROM base\n":                                            "1 neither a number of seconds nor the name",
		"ARG SOURCE_DATE_EPOCH=-1\nFROM base\n":                                              "1 neither a number of seconds nor the name",
		"ARG SOURCE_DATE_EPOCH=sourc\nFROM scratch AS source\n":                              "1 neither did you mean source?",
		"ARG SOURCE_DATE_EPOCH=a\nFROM base AS a\nADD http://h/f /\n":                        "2 must start FROM scratch",
		"ARG SOURCE_DATE_EPOCH=a\nFROM scratch AS a\nCOPY f /\n":                             "2 may have ARG and one ADD, but not COPY",
		"ARG SOURCE_DATE_EPOCH=a\nFROM scratch AS a\n":                                       "2 must ADD a URL or a git repository",
		"ARG SOURCE_DATE_EPOCH=a\nFROM scratch AS a\nADD f /\n":                              "2 must ADD a URL or a git repository",
		"ARG SOURCE_DATE_EPOCH=a\nFROM scratch AS a\nADD http://h/f http://h/g /\n":          "2 must ADD one URL",
		"ARG SOURCE_DATE_EPOCH=a\nFROM scratch AS a\nADD http://h/f /\nADD http://h/f /\n":   "2 must ADD one URL",
		"ARG SOURCE_DATE_EPOCH=a\nFROM scratch AS a\nADD --checksum=sha256:0 http://h/f /\n": "2 invalid checksum",
	} {
		_, err := buildText(t, text, nil)
		var e *Error
		line, rest, _ := strings.Cut(says, " ")
		if !errors.As(err, &e) || fmt.Sprint(e.Line) != line {
			t.Errorf("%q: %+v", text, err)
			continue
		}
		for word := range strings.SplitSeq(rest, " ") {
			if !strings.Contains(e.Error()+" "+e.Hint, word) {
				t.Errorf("%q: %v (%s), want %q", text, err, e.Hint, rest)
			}
		}
	}
	// What has no time of its own leaves the argument unset.
	warned := 0
	f := mustBuild(t, "ARG SOURCE_DATE_EPOCH=context\nFROM base\nARG SOURCE_DATE_EPOCH\nRUN x\n", func(_ *fake, o *Options) {
		o.Image.RewriteTimes = true
		o.Progress = func(e Event) {
			if e.Kind == Warning && strings.Contains(e.Text, "no time of its own") {
				warned++
			}
		}
	})
	if env := f.cmds[0].Env; f.commits[0].Created != nil || slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "SOURCE_DATE_EPOCH") }) || warned != 1 {
		t.Errorf("created %v, environment %q, %d warnings", f.commits[0].Created, env, warned)
	}
}

// TestHostProxy: the host's proxies reach RUN where no argument says otherwise, and
// an ARG does not see them.
func TestHostProxy(t *testing.T) {
	host := map[string]string{"http_proxy": "host", "NO_PROXY": "upper", "no_proxy": "lower", "OTHER": "x"}
	f := mustBuild(t, "FROM base\nARG HTTP_PROXY\nRUN x\n", func(_ *fake, o *Options) {
		o.HostProxy = true
		o.LookupEnv = func(name string) (string, bool) { v, ok := host[name]; return v, ok }
		o.BuildArgs = arguments(map[string]string{"HTTPS_PROXY": "given", "no_proxy": ""})
	})
	equal(t, "uncached environment", f.cmds[0].UncachedEnv, []string{"HTTP_PROXY=host", "http_proxy=host", "HTTPS_PROXY=given", "https_proxy=given"})
	equal(t, "environment", f.beyondConfig(f.cmds[0].Env), nil)
	if got := f.target.history[len(f.target.history)-1]; got != "RUN |1 HTTP_PROXY= /bin/sh -c x" {
		t.Errorf("history %q", got)
	}
}

func TestHostname(t *testing.T) {
	f := mustBuild(t, "FROM base\nRUN x\n", func(_ *fake, o *Options) {
		o.BuildArgs = arguments(map[string]string{"BUILDKIT_SANDBOX_HOSTNAME": "builder7"})
		o.Progress = func(e Event) {
			if e.Kind == Warning {
				t.Errorf("warning: %s", e.Text)
			}
		}
	})
	if f.cmds[0].Isolation.Network.Hostname != "builder7" {
		t.Errorf("hostname %q", f.cmds[0].Isolation.Network.Hostname)
	}
}

// TestImageEnvironment: the options change the image's environment, not the build's.
func TestImageEnvironment(t *testing.T) {
	f := mustBuild(t, "FROM base\nENV A=1 B=2 C=3\nRUN x\n", func(_ *fake, o *Options) {
		o.Image.Env = []string{"B=new", "D=a=b", "E="}
		o.Image.UnsetEnv = []string{"A", "E", "NONE"}
	})
	equal(t, "environment", f.target.config.Env, []string{"PATH=/bin", "B=new", "C=3", "D=a=b"})
	for _, bad := range []string{"A", "=1", ""} {
		if err := (Options{File: File{Path: "f"}, Image: Image{Env: []string{bad}}}).validate(); err == nil {
			t.Errorf("environment %q is accepted", bad)
		}
	}
}

func TestFromOption(t *testing.T) {
	f := mustBuild(t, "FROM $UNSET AS a\nFROM base AS b\nFROM a\nCOPY --from=b / /\n", func(_ *fake, o *Options) { o.From = "tool" })
	equal(t, "operations", f.log, []string{"a: FROM tool", "b: FROM base", "2: FORK a", "2: COPY from b . -> /", "2: COMMIT out"})
}

// A Dockerfile that does not end is not read to its end.
func TestLargeDockerfile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "Dockerfile")
	writeFile(t, name, "FROM scratch\n"+strings.Repeat("#\n", limits.MaxDockerfile/2))
	for _, opts := range []Options{{Context: Context{Dir: dir}}, {Context: Context{Dir: dir}, File: File{Path: "/dev/zero"}}, {Context: Context{Dir: dir}, File: File{Text: strings.NewReader("FROM scratch\n"), More: []string{name}}}} {
		if _, err := Build(t.Context(), (&fake{}).builder(t), opts); !errors.Is(err, builder.ErrInvalid) {
			t.Errorf("error %v", err)
		}
	}
}

// TestSeveralFiles: faults are in the file and line that has them.
func TestSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, file("one"), "# escape=`\nFROM base AS a\nRUN a") // without a newline
	writeFile(t, file("two"), "\ufeff# escape=`\nFROM a\nRUN b `\n c\n")
	writeFile(t, file("three"), "RUN d\nCOPY --from=nowhere a b\n")
	opts := Options{Context: Context{Dir: dir}, File: File{Path: file("one"), More: []string{file("two"), file("three")}}, Steps: Steps{Jobs: 1}}
	f := &fake{images: map[string]builder.Config{"base": {}}}
	_, err := Build(t.Context(), f.builder(t), opts)
	var e *Error
	if !errors.As(err, &e) || e.File != file("three") || e.Line != 2 || e.EndLine != 2 ||
		e.Excerpt != "   1 |     RUN d\n   2 | >>> COPY --from=nowhere a b\n" {
		t.Errorf("error %+v", err)
	}
	f = &fake{images: map[string]builder.Config{"base": {}, "nowhere": {}}}
	if _, err := Build(t.Context(), f.builder(t), opts); err != nil {
		t.Fatal(err)
	}
	equal(t, "operations", f.log, []string{
		"a: FROM base", "a: RUN /bin/sh -c a", "nowhere: FROM nowhere", "1: FORK a", "1: RUN /bin/sh -c b  c",
		"1: RUN /bin/sh -c d", "1: COPY from nowhere a -> /b", "1: COMMIT ",
	})
}
