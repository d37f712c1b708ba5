package dockerfile

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/machine"
)

// TestFaults checks where and how builds fail that never reach the builder.
func TestFaults(t *testing.T) {
	tests := []struct {
		name, text  string
		line        int
		says        string // part of the message
		hint        string // part of the hint
		unsupported bool
	}{
		{name: "empty", text: "", says: "the Dockerfile is empty"},
		{name: "blank", text: " \n\n", says: "the Dockerfile is empty"},
		{name: "comments only", text: "# a\n# b\n", says: "has no instructions"},
		{name: "no FROM", text: "ARG A\n", says: "no FROM"},
		{name: "before FROM", text: "# c\nRUN a\nFROM base\n", line: 2, says: "RUN stands before the first FROM"},
		{name: "unknown instruction", text: "FROM base\nRUM a\n", line: 2, says: "unknown instruction: RUM", hint: "did you mean RUN?"},
		{name: "unknown flag", text: "FROM base\n\nCOPY --form=a b c\n", line: 3, says: "unknown flag: --form", hint: "did you mean --from?"},
		{name: "bad directive", text: "# escape=x\nFROM base\n", line: 1, says: "escape"},
		{name: "repeated directive", text: "# escape=`\n# escape=`\nFROM base\n", line: 2, says: "escape"},
		{name: "bad stage name", text: "FROM base AS 1a\n", line: 1, says: "invalid name for build stage"},
		{name: "unterminated here-document", text: "FROM base\nRUN <<EOF\na\n", line: 2, says: "unterminated heredoc"},
		{name: "blank base", text: "FROM $X\n", line: 1, says: "base name is blank", hint: "before the first FROM"},
		{name: "error in a header default", text: "ARG A=${B:?needed}\nFROM base\n", line: 1, says: "needed"},
		{name: "error in a stage's variable", text: "FROM base\nENV A=${B:?needed}\n", line: 2, says: "needed"},
		{name: "stage refers to itself", text: "FROM base\nFROM base AS me\nCOPY --from=ME a b\n", line: 3, says: "refers to itself"},
		{name: "index refers to itself", text: "FROM base\nCOPY --from=0 a b\n", line: 2, says: "refers to itself"},
		{name: "later stage", text: "FROM base AS a\nCOPY --from=b x y\nFROM base AS b\nCOPY --from=a x y\n", line: 2, says: "defined after this one, in line 3"},
		{name: "later index", text: "FROM base\nCOPY --from=1 x y\nFROM base\nCOPY --from=0 x y\n", line: 2, says: "defined after this one, in line 3"},
		{name: "index out of range", text: "FROM base\nCOPY --from=7 x y\n", line: 2, says: "there is no stage 7"},
		{name: "variable in from", text: "FROM base\nCOPY --from=$X x y\n", line: 2, says: "no ARG or ENV above sets X"},
		{name: "blank variable in from", text: "FROM base\nARG X=\nCOPY --from=$X x y\n", line: 3, says: "the name is blank"},
		{name: "stage of a variable in from", text: "ARG X=late\nFROM base\nCOPY --from=$X x y\nFROM base AS late\nCOPY --from=0 x y\n", line: 3, says: "COPY --from=late: the stage is defined after this one, in line 4"},
		{name: "another language", text: "// syntax=docker.io/other/frontend:1\nsomething {}\n", line: 1, says: "the language of the frontend docker.io/other/frontend:1", unsupported: true},
		{name: "another language in JSON", text: "#!/usr/bin/env x\n{\"syntax\": \"other/frontend\"}", line: 1, says: "the language of the frontend other/frontend", unsupported: true},
		{name: "an extended grammar", text: "# syntax=other/dockerfile-plus\nINCLUDE x\nFROM base\n", line: 2, says: "unknown instruction: INCLUDE", hint: "the file names the frontend other/dockerfile-plus"},
		{name: "after no stage", text: "FROM base AS builder\nFROM --after=bilder base\n", line: 2, says: "FROM --after=bilder: no stage above", hint: "did you mean builder?"},
		{name: "after itself", text: "FROM --after=me base AS me\n", line: 1, says: "no stage above"},
		{name: "image not found", text: "FROM base AS builder\nFROM bilder\n", line: 2, says: "image not found", hint: "did you mean builder?"},
		{name: "image not found, but a later stage", text: "FROM late\nFROM base AS late\nCOPY --from=0 / /\n", line: 1, says: "image not found", hint: "in line 2"},
		{name: "image of a copy not found", text: "FROM base AS builder\nFROM base\nCOPY --from=bulder a b\n", line: 3, says: "image not found", hint: "did you mean builder?"},
		{name: "bad mode", text: "FROM base\nCOPY --chmod=999 a /b\n", line: 2, says: "not an octal mode"},
		{name: "mode out of range", text: "FROM base\nCOPY --chmod=17777 a /b\n", line: 2, says: "not an octal mode"},
		{name: "COPY of a URL", text: "FROM base\nCOPY https://x/y /z\n", line: 2, says: "only ADD takes a URL"},
		{name: "bad signal", text: "FROM base\nSTOPSIGNAL SIGNOPE\n", line: 2, says: "STOPSIGNAL SIGNOPE"},
		{name: "bad port", text: "FROM base\nEXPOSE 1 x\n", line: 2, says: "EXPOSE x"},
		{name: "blank volume", text: "FROM base\nVOLUME $X\n", line: 2, says: "blank"},
		{name: "exec form without a command", text: "FROM base\nRUN []\n", line: 2, says: "without a command"},
		{name: "here-document with a path", text: "FROM base\nCOPY <<\"a/b\" /x\nhi\na/b\n", line: 2, says: "file's name"},
		{name: "bad trigger", text: "FROM base AS a\nONBUILD COPY --from=b x y\nFROM a AS b\n", line: 3, says: "refers to itself"},
		{name: "unknown trigger", text: "FROM base AS a\nONBUILD FOO x\nFROM a\n", line: 3, says: "unknown instruction: FOO"},

		{name: "chained ONBUILD", text: "FROM base\nONBUILD ONBUILD RUN x\n", line: 2, says: "ONBUILD ONBUILD"},

		{name: "mount", text: "FROM base\nRUN --mount=type=cach,target=/c x\n", line: 2, says: "RUN --mount=type=cach,target=/c: the type \"cach\" is not known", hint: "did you mean cache?"},
		{name: "mount by a variable of the base", text: "FROM base\nRUN --mount=type=cache,target=/proc$PATH x\n", line: 2, says: "nothing can be mounted over /proc/bin"},
		{name: "network", text: "FROM base\nRUN --network=host x\n", line: 2, says: "RUN --network=host lets", hint: "--allow network.host"},
		{name: "unknown network", text: "FROM base\nRUN --network=hots x\n", line: 2, says: "hots"},
		{name: "device", text: "FROM base\nRUN --device=vendor.example/x=y,required x\n", line: 2, says: "RUN --device=vendor.example/x=y: a device by its name", unsupported: true},
		{name: "device by its path", text: "FROM base\nRUN --device=/dev/fuse x\n", line: 2, says: "RUN --device=/dev/fuse lets", hint: "--allow device=/dev/fuse"},
		{name: "device without a name", text: "FROM base\nRUN --device=required x\n", line: 2, says: "names no device"},
		{name: "security", text: "FROM base\nRUN --security=insecure x\n", line: 2, says: "RUN --security=insecure lets", hint: "--allow security.insecure"},
		{name: "unknown security", text: "FROM base\nRUN --security=none x\n", line: 2, says: "none"},
		{name: "network in a trigger", text: "FROM base AS a\nONBUILD RUN --network=host x\nFROM a\n", line: 3, says: "ONBUILD trigger \"RUN --network=host x\" of the base: RUN --network=host lets", hint: "--allow network.host"},
		{name: "password in a trigger", text: "FROM base AS a\nONBUILD ADD --chmod=u+q http://me:word@h.example/x /b/\nFROM a\n", line: 3, says: `ONBUILD trigger "ADD --chmod=u+q http://xxxxx@h.example/x /b/" of the base`},
		{name: "symbolic mode", text: "FROM base\nADD --chmod=u+q a /b/\n", line: 2, says: "ADD --chmod=u+q: neither"},
		{name: "symbolic mode by a variable", text: "FROM base\nARG M=rwx\nCOPY --chmod=$M a /b/\n", line: 3, says: "COPY --chmod=rwx: neither"},
		{name: "bytes in ENV", text: "FROM base\nENV A=1 \\\n B=\xe9\n", line: 2, says: `the environment "B=\xe9" is not UTF-8`},
		{name: "bytes in ENV by ARG", text: "FROM base\nARG A=\xe9\nENV B=$A\n", line: 3, says: `the environment "B=\xe9" is not UTF-8`},
		{name: "bytes in LABEL", text: "FROM base\nLABEL \xe9=1\n", line: 2, says: `the label "\xe9" is not UTF-8`},
		{name: "bytes in WORKDIR", text: "FROM base\nWORKDIR \xe9\n", line: 2, says: `\xe9" is not UTF-8`},
		{name: "bytes in CMD", text: "FROM base\nCMD echo \xe9\n", line: 2, says: `the command "echo \xe9" is not UTF-8`},
		{name: "bytes in ENTRYPOINT", text: "FROM base\nENTRYPOINT [\"\xe9\"]\n", line: 2, says: `the entrypoint "\xe9" is not UTF-8`},
		{name: "bytes in SHELL", text: "FROM base\nSHELL [\"\xe9\"]\n", line: 2, says: `the shell "\xe9" is not UTF-8`},
		{name: "bytes in USER", text: "FROM base\nUSER \xe9\n", line: 2, says: `the user "\xe9" is not UTF-8`},
		{name: "bytes in VOLUME", text: "FROM base\nVOLUME /\xe9\n", line: 2, says: `the volume "/\xe9" is not UTF-8`},
		{name: "bytes in HEALTHCHECK", text: "FROM base\nHEALTHCHECK CMD \xe9\n", line: 2, says: `the health check "\xe9" is not UTF-8`},
		{name: "bytes in ONBUILD", text: "FROM base\nONBUILD RUN \xe9\n", line: 2, says: `the ONBUILD trigger "RUN \xe9" is not UTF-8`},
		{name: "bytes in MAINTAINER", text: "FROM base\nMAINTAINER \xe9\n", line: 2, says: `"\xe9" is not UTF-8`},
		{name: "bytes in the name of an image", text: "FROM \xe9\n", line: 1, says: "\xe9"},
		{name: "bytes in an instruction", text: "FROM base\nR\xe9N x\n", line: 2, says: "R\xe9N"},
		{name: "link with an owner's name", text: "FROM base\nCOPY --link --chown=me a /b/\n", line: 2, says: "give numbers"},
		{name: "link with a group's name", text: "FROM base\nARG O=1:me\nADD --link --chown=$O a /b/\n", line: 3, says: "ADD --link --chown=1:me"},
		{name: "not a URL", text: "FROM base\nADD https:///y /z\n", line: 2, says: "not a URL"},
		{name: "not a repository", text: "FROM base\nADD git@github.com:a/b.git#--upload-pack=x /z\n", line: 2, says: "cannot be the name of a branch"},
		{name: "unknown query", text: "FROM base\nADD https://u:TOK@x/y.git?a=b /z\n", line: 2, says: "ADD https://xxxxx@x/y.git?a=b: git reference: the query's \"a\" is unknown"},
		{name: "not a repository by a variable", text: "FROM base\nARG U=ssh://-x/y\nADD $U /z\n", line: 3, says: "a dash"},
		{name: "checksum", text: "FROM base\nADD --checksum=sha256:00 https://x/y /z\n", line: 2, says: "ADD --checksum=sha256:00: invalid checksum digest length"},
		{name: "checksum of a repository", text: "FROM base\nADD --checksum=sha256:00 https://x/y.git /z\n", line: 2, says: "a commit's id"},
		{name: "checksum of a file", text: "FROM base\nADD --checksum=sha256:00 a /z\n", line: 2, says: "not for files of the context"},
		{name: "checksum of several", text: "FROM base\nADD --checksum=0123456789 https://x/a.git https://x/b.git /z/\n", line: 2, says: "for one source"},
		{name: "platform", text: "FROM --platform=windows/amd64 base\n", line: 1, says: "platform windows/amd64", unsupported: true},
		{name: "bad platform", text: "FROM --platform=a/b/c/d base\n", line: 1, says: "--platform=a/b/c/d"},
		{name: "blank platform of nothing", text: "FROM --platform=$P scratch\n", line: 1, says: "platform is blank"},
		{name: "blank platform", text: "FROM --platform=$P base\n", line: 1, says: "platform is blank"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := buildText(t, tt.text, nil)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v, want an *Error", err)
			}
			if e.Line != tt.line || !strings.Contains(e.Error(), tt.says) || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("line %d, %q, hint %q", e.Line, e.Error(), e.Hint)
			}
			if tt.hint != "" && strings.Contains(e.Error(), tt.hint) {
				t.Errorf("the hint is in the message too: %q", e.Error())
			}
			if (tt.line > 0) != strings.Contains(e.Excerpt, fmt.Sprintf(" %3d | >>> ", tt.line)) {
				t.Errorf("excerpt:\n%s", e.Excerpt)
			}
			if errors.Is(err, errors.ErrUnsupported) != tt.unsupported {
				t.Errorf("unsupported is %v", !tt.unsupported)
			}
			if tt.unsupported && !strings.Contains(tt.name, "variable") && len(f.log) > 0 {
				t.Errorf("done before the error: %q", f.log)
			}
		})
	}
}

// TestUnsupportedInUnusedStage: what is not built need not be possible.
func TestUnsupportedInUnusedStage(t *testing.T) {
	mustBuild(t, "FROM base AS a\nRUN --mount=type=cash,target=/c x\nFROM --platform=windows base\nFROM base\n", nil)
}

// TestTriggerFaults checks triggers that a base image holds.
func TestTriggerFaults(t *testing.T) {
	tests := []struct{ trigger, says string }{
		{"RUN --mount=type=cash,target=/c x", "the type \"cash\" is not known"},
		{"RUN --mount=from=later,target=/c x", "defined after this one"},
		{"RUN --mount=from=bad,target=/c x", "the type \"cash\" is not known"},
		{"RUN --network=host x", "not allowed"},
		{"ONBUILD RUN x", "may not be a trigger"},
		{"FROM base", "not a command"},
		{"RUN a\nRUN b", "one instruction"},
		{"", "no instructions"},
		{"COPY --from=later a b", "defined after this one"},
		{"COPY --from=bad a b", "the type \"cash\" is not known"},
		{"RUN fails", "exit status 3"},
	}
	for _, tt := range tests {
		t.Run(tt.trigger, func(t *testing.T) {
			_, err := buildText(t, "FROM base AS bad\nRUN --mount=type=cash,target=/c x\nFROM trig AS me\nFROM base AS later\n", func(f *fake, o *Options) {
				o.Target = "me"
				f.images["trig"] = builder.Config{OnBuild: []string{tt.trigger}}
				f.fail = map[string]error{"me: RUN /bin/sh -c fails": &builder.ExitError{Code: 3}}
			})
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(e.Error(), tt.says) {
				t.Fatalf("error %v, want %q", err, tt.says)
			}
			if e.Line != 3 && e.Line != 2 {
				t.Errorf("line %d", e.Line)
			}
		})
	}
}

func TestUnknownTarget(t *testing.T) {
	_, err := buildText(t, "FROM base AS build\nFROM base\nFROM base AS Test\n", func(_ *fake, o *Options) { o.Target = "biuld" })
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Error(), `"biuld" not found; the stages are build, 1, test`) || e.Hint != "did you mean build?" {
		t.Errorf("error %v, hint %q", err, e.Hint)
	}
	_, err = buildText(t, "FROM base\nFROM base AS b\n", func(_ *fake, o *Options) { o.Target = "a" })
	if !errors.As(err, &e) || e.Hint != "" {
		t.Errorf("hint %q for a name too short to guess", e.Hint)
	}
	for _, target := range []string{"3", "-1"} {
		if _, err := buildText(t, "FROM base\nFROM base\nFROM base\n", func(_ *fake, o *Options) { o.Target = target }); err == nil {
			t.Errorf("target %s is found", target)
		}
	}
}

// Where no command can be run, a build that needs one fails before anything is pulled, and says all that the
// machine lacks; one that needs none is built.
func TestNoCommands(t *testing.T) {
	lacks := []machine.Probe{{Name: "namespaces", Found: "no namespaces", Fix: "allow them"}, {Name: "chroot", Found: "no chroot", Fix: "run it as root"}}
	for text, line := range map[string]int{
		"FROM base\nCOPY a /\nRUN a\nRUN b\n":                                      3,
		"FROM base AS other\nRUN \\\n  a\nFROM scratch\nCOPY --from=other /a /b\n": 2,
		"FROM base AS other\nRUN a\nFROM base\nCOPY a /\n":                         0,
		"FROM base\nWORKDIR /a\nCMD b\n":                                           0,
	} {
		var used *fake
		_, err := buildText(t, text, func(f *fake, _ *Options) { f.lacks, used = lacks, f })
		if line == 0 {
			if err != nil {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		var e *Error
		var host *builder.HostError
		if !errors.As(err, &e) || e.Line != line || !errors.As(err, &host) || host.Missing != "commands cannot be run here: no namespaces; no chroot" || host.Fix != "allow them; or: run it as root" {
			t.Errorf("%q: %+v", text, err)
		}
		if len(used.ops) > 0 {
			t.Errorf("%q: %v was pulled", text, used.ops)
		}
	}
}

func TestMissingCopySource(t *testing.T) {
	cause := fmt.Errorf("nothing.txt: %w", builder.ErrNotFound)
	_, err := buildText(t, "FROM base\n\nCOPY \\\n  nothing.txt \\\n  /x\nRUN a\n", func(f *fake, _ *Options) {
		f.fail = map[string]error{"0: COPY nothing.txt -> /x": cause}
	})
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, builder.ErrNotFound) {
		t.Fatalf("error %v", err)
	}
	if e.Line != 3 || e.EndLine != 5 || !strings.Contains(e.Hint, "in the build context, /") {
		t.Errorf("lines %d to %d, hint %q", e.Line, e.EndLine, e.Hint)
	}
	want := "   1 |     FROM base\n   2 |\n   3 | >>> COPY \\\n   4 | >>>   nothing.txt \\\n   5 | >>>   /x\n   6 |     RUN a\n"
	if e.Excerpt != want {
		t.Errorf("excerpt:\n%swant:\n%s", e.Excerpt, want)
	}
	if got := e.Error(); got != "Dockerfile:3: nothing.txt: no such file or directory" {
		t.Errorf("message %q", got)
	}
}

func TestExcerpt(t *testing.T) {
	long := strings.Repeat("é", excerptWidth)
	tests := []struct {
		name, text  string
		first, last int
		want        string
	}{
		{"no line", "a\n", 0, 0, ""},
		{"beyond the end", "a\n", 2, 2, ""},
		{"the only line", "a", 1, 1, "   1 | >>> a\n"},
		{"an end before the start", "a\nb\n", 2, 1, "   1 |     a\n   2 | >>> b\n"},
		{"what a terminal would obey", "\x1b[2Ja\tb\r\n", 1, 1, "   1 | >>> \\x1b[2Ja b\n"},
		{"a long line", long, 1, 1, "   1 | >>> " + strings.Repeat("é", excerptWidth/2) + "...\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := excerpt(linesOf(tt.text), tt.first, tt.last); got != tt.want {
				t.Errorf("got:\n%swant:\n%s", got, tt.want)
			}
		})
	}
	many := strings.Repeat("x\n", 100)
	if got := strings.Count(excerpt(linesOf(many), 10, 90), ">>>"); got != excerptMarked {
		t.Errorf("%d lines marked", got)
	}
}

func linesOf(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }

// TestBadOptions checks what fails without a place in a Dockerfile.
func TestBadOptions(t *testing.T) {
	empty := t.TempDir()
	file := filepath.Join(empty, "file")
	writeFile(t, file, "FROM base\n")
	badIgnore := t.TempDir()
	writeFile(t, filepath.Join(badIgnore, "Dockerfile"), "FROM base\n")
	writeFile(t, filepath.Join(badIgnore, ".dockerignore"), "a\n[\n")
	tests := []struct {
		name string
		opts Options
		says string
		is   error
	}{
		{"nothing", Options{}, "neither", nil},
		{"no context", Options{Context: Context{Dir: filepath.Join(empty, "none")}}, "build context", fs.ErrNotExist},
		{"context is a file", Options{Context: Context{Dir: file}}, "not a directory", nil},
		{"no Dockerfile", Options{Context: Context{Dir: empty}}, "no Dockerfile, dockerfile or Containerfile in", fs.ErrNotExist},
		{"missing Dockerfile", Options{Context: Context{Dir: empty}, File: File{Path: filepath.Join(empty, "x")}}, "reading the Dockerfile", fs.ErrNotExist},
		{"Dockerfile is a directory", Options{Context: Context{Dir: empty}, File: File{Path: empty}}, "reading the Dockerfile", nil},
		{"bad ignore file", Options{Context: Context{Dir: badIgnore}}, ".dockerignore", nil},
		{"bad name", Options{Context: Context{Dir: empty}, Image: Image{Names: []string{"UPPER"}}}, "UPPER", builder.ErrReference},
		{"bad format", Options{Context: Context{Dir: empty}, Image: Image{Format: "tar"}}, "tar", nil},
		{"bad jobs", Options{Context: Context{Dir: empty}, Steps: Steps{Jobs: -1}}, "-1 jobs", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Build(t.Context(), (&fake{}).builder(t), tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.says) || (tt.is != nil && !errors.Is(err, tt.is)) {
				t.Errorf("error %v, want %q", err, tt.says)
			}
		})
	}
}

func TestNoContext(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	for _, instruction := range []string{"COPY a b", "ADD a b"} {
		writeFile(t, file, "FROM base\n"+instruction+"\n")
		_, err := Build(t.Context(), (&fake{}).builder(t), Options{File: File{Path: file}})
		var e *Error
		if !errors.As(err, &e) || e.Line != 2 || !strings.Contains(e.Error(), "no build context") {
			t.Errorf("%s: error %v", instruction, err)
		}
	}
	writeFile(t, file, "FROM base AS a\nCOPY <<E /f\nhi\nE\nFROM base\nCOPY --from=a a b\n")
	f := &fake{images: map[string]builder.Config{"base": {}}}
	if _, err := Build(t.Context(), f.builder(t), Options{File: File{Path: file}}); err != nil {
		t.Error(err)
	}
}
