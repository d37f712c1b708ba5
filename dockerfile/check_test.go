package dockerfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// warnings builds a text and gives its warnings, as "line rule".
func warnings(t *testing.T, text string, change func(*fake, *Options)) ([]string, *fake, error) {
	t.Helper()
	var list []string
	f, err := buildText(t, text, func(f *fake, o *Options) {
		o.Progress = func(e Event) {
			if e.Kind == Warning {
				list = append(list, fmt.Sprintf("%d %s", e.Line, e.Rule))
			}
		}
		if change != nil {
			change(f, o)
		}
	})
	return list, f, err
}

// TestBuildChecks checks which findings a build warns of: of the stages that it needs,
// with what their base images set.
func TestBuildChecks(t *testing.T) {
	const text = "FROM base AS unused\nWORKDIR a\nFROM base\nRUN a \\\n\n  b\nENV c=$PATH d=$KNOWN e=$UNKNOWN\nCMD f\n"
	known := func(f *fake, _ *Options) {
		f.images["base"] = builder.Config{Env: []string{"KNOWN=1"}, Shell: []string{"/sh"}}
	}
	list, _, err := warnings(t, text, known)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "warnings", list, []string{"6 NoEmptyContinuation", "7 UndefinedVar"})
	list, _, _ = warnings(t, "# check=skip=UndefinedVar\n"+text, known)
	equal(t, "warnings", list, []string{"7 NoEmptyContinuation"})
	list, _, _ = warnings(t, text, func(f *fake, o *Options) {
		known(f, o)
		o.BuildArgs = arguments(map[string]string{"BUILDKIT_DOCKERFILE_CHECK": "skip=all"})
	})
	equal(t, "warnings", list, nil)
}

// TestStrictChecks checks that error=true fails a build, before anything is pulled when
// that can be known.
func TestStrictChecks(t *testing.T) {
	for _, c := range []struct {
		name, text, rule string
		line             int
		broken, begun    bool
	}{
		{"early", "# check=error=true\nFROM base\nWORKDIR a\n", "WorkdirRelativePath", 3, false, false},
		{"by the base image", "# check=error=true\nFROM base\nENV a=$b\n", "UndefinedVar", 3, false, true},
		{"by the command", "# check=error=true\nFROM base\nCMD [\"/a\"]\n", "CommandCannotRun", 3, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, f, err := warnings(t, c.text, func(f *fake, _ *Options) {
				if c.broken {
					f.broken = []string{"/a is not in the image"}
				}
			})
			var fault *Error
			if !errors.Is(err, ErrChecks) || !errors.As(err, &fault) || fault.Line != c.line || !strings.Contains(err.Error(), c.rule) {
				t.Fatalf("error %v", err)
			}
			equal(t, "warnings", list, []string{fmt.Sprintf("%d %s", c.line, c.rule)})
			if begun := len(f.log) > 0; begun != c.begun || len(f.commits) > 0 {
				t.Errorf("log %q", f.log)
			}
		})
	}
	if _, _, err := warnings(t, "# check=error=true\nFROM base\nWORKDIR /a\n", nil); err != nil {
		t.Error(err)
	}
	_, _, err := warnings(t, "# escape=\\\n# check=eror=true\nFROM base\n", nil)
	var fault *Error
	if !errors.As(err, &fault) || fault.Line != 2 {
		t.Errorf("bad directive: %v", err)
	}
}

// TestCommandPlace checks where a command that cannot run is reported, and what
// silences it.
func TestCommandPlace(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"of the base", "FROM base\nRUN a\n", "1 CommandCannotRun"},
		{"CMD", "FROM base\nCMD [\"a\"]\nRUN a\n", "2 CommandCannotRun"},
		{"of a stage below", "FROM base AS a\nCMD [\"a\"]\nFROM a\nRUN a\n", "2 CommandCannotRun"},
		{"ENTRYPOINT goes first", "FROM base\nENTRYPOINT [\"a\"]\nCMD [\"b\"]\n", "2 CommandCannotRun"},
		{"silenced", "# check=skip=CommandCannotRun\nFROM base\n", ""},
		{"silenced there", "FROM base\n# check=skip=CommandCannotRun\nCMD [\"a\"]\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, _, err := warnings(t, c.text, func(f *fake, _ *Options) {
				f.broken = []string{"/a is not in the image"}
				f.images["base"] = builder.Config{Cmd: []string{"/a"}}
			})
			if err != nil || strings.Join(list, "\n") != c.want {
				t.Errorf("%v, warnings %q, want %q", err, list, c.want)
			}
		})
	}
}

// TestCheck checks the whole report, of a file that breaks every rule.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile("internal/lint/testdata/every-rule")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "COPY --chmod=9 a /\n"...) // what cannot be built
	for name, content := range map[string]string{"Dockerfile": string(text), ".dockerignore": "ignored\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	report, err := Check(t.Context(), Options{Context: Context{Dir: dir}})
	if err == nil {
		t.Error("the Dockerfile can be built")
	}
	rules := map[string]bool{}
	for _, f := range report.Findings {
		rules[f.Rule] = true
		if f.Line < 1 || !strings.Contains(f.Excerpt, fmt.Sprintf("%d | >>>", f.Line)) {
			t.Errorf("%s in line %d:\n%s", f.Rule, f.Line, f.Excerpt)
		}
	}
	if len(rules) != 22 || report.File != "Dockerfile" || string(report.Text) != string(text) {
		t.Errorf("%d rules in %s", len(rules), report.File)
	}
}

// TestCheckBase checks that a base image is asked for only where it decides.
func TestCheckBase(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "Dockerfile")
	if err := os.WriteFile(file, []byte("FROM base\nENV a=$PATH\nENV b=$OWN c=$OTHER\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	opts := Options{File: File{Path: file}}
	report, err := Check(t.Context(), opts)
	if err != nil || len(report.Findings) != 0 {
		t.Errorf("unknown: %v, %+v", err, report.Findings)
	}
	lib := &fake{images: map[string]builder.Config{"base": {Env: []string{"OWN=1"}}}}
	report, err = Check(t.Context(), lib.opened(t, opts))
	if err != nil || len(report.Findings) != 1 || report.Findings[0].Detail != "Usage of undefined variable '$OTHER'" {
		t.Errorf("known: %v, %+v", err, report.Findings)
	}
}

// TestCheckNamedContext: what stands for a base image is asked, not that.
func TestCheckNamedContext(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Dockerfile")
	writeFile(t, file, "FROM base\nENV b=$OWN c=$OTHER\n")
	lib := &fake{images: map[string]builder.Config{"instead": {Env: []string{"OWN=1"}}}}
	for value, want := range map[string]string{"docker-image://instead": "'$OTHER'", t.TempDir(): "'$OWN' '$OTHER'"} {
		opts := Options{File: File{Path: file}, Context: Context{Named: map[string]string{"docker.io/library/base:latest": value}}}
		report, err := Check(t.Context(), lib.opened(t, opts))
		var details []string
		for _, f := range report.Findings {
			details = append(details, strings.TrimPrefix(f.Detail, "Usage of undefined variable "))
		}
		if got := strings.Join(details, " "); got != want || err != nil {
			t.Errorf("%s: %s, %v", value, got, err)
		}
	}
}

// TestOutline checks what a target says that it takes.
func TestOutline(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "Dockerfile")
	text := `# VERSION is the release
ARG VERSION=1
ARG IMAGE=busybox:${VERSION}
ARG UNUSED
# tools have what is needed
FROM ${IMAGE} AS tools
# LEVEL is how much
ARG LEVEL=$VERSION
RUN --mount=type=secret,id=token,required --mount=type=cache,target=/root/.cache true
FROM scratch AS other
ARG NOTHERE
FROM scratch
RUN --mount=type=ssh true
COPY --from=tools /a /
`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	report, _ := Check(t.Context(), Options{File: File{Path: file}, BuildArgs: arguments(map[string]string{"LEVEL": "9"})})
	equal(t, "outline", strings.Split(fmt.Sprintf("%+v", report.Outline), "} {"), []string{
		"{Name: Description: Args:[{Name:VERSION Description:is the release Value:1 Line:2 EndLine:2",
		"Name:IMAGE Description: Value:busybox:1 Line:3 EndLine:3",
		"Name:LEVEL Description:is how much Value:9 Line:8 EndLine:8}] Secrets:[{Name:token Required:true Line:9 EndLine:9}]" +
			" SSH:[{Name:default Required:false Line:13 EndLine:13}] Caches:[{Name:/root/.cache Required:false Line:9 EndLine:9}]}",
	})
	equal(t, "targets", strings.Split(fmt.Sprintf("%+v", report.Targets), "} {"), []string{
		"[{Name:tools Description:have what is needed Base:${IMAGE} Platform: Default:false Line:6 EndLine:6",
		"Name:other Description: Base:scratch Platform: Default:false Line:10 EndLine:10",
		"Name: Description: Base:scratch Platform: Default:true Line:12 EndLine:12}]",
	})
	report, _ = Check(t.Context(), Options{File: File{Path: file}, Target: "other"})
	if o := report.Outline; o.Name != "other" || len(o.Args) != 1 || len(o.Secrets)+len(o.SSH)+len(o.Caches) != 0 {
		t.Errorf("outline of other: %+v", o)
	}
}

// TestCommentsWithSettings checks that a comment with settings above an instruction
// harms nobody who does not read it: BuildKit's parser needs a linter then.
func TestCommentsWithSettings(t *testing.T) {
	mustBuild(t, "FROM base\n# check=skip=all\nRUN a\n", nil)
	_, err := buildText(t, "FROM hostile\n", func(f *fake, _ *Options) {
		f.images["hostile"] = builder.Config{OnBuild: []string{"# a=b\n# check=skip=all\nRUN a"}}
	})
	if err != nil {
		t.Error(err)
	}
}
