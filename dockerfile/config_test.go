package dockerfile

import (
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/buildertest"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// TestConfig checks the configuration and the history that instructions lead to.
func TestConfig(t *testing.T) {
	path := "PATH=/bin"
	tests := []struct {
		name, text string
		want       builder.Config
		history    []string
	}{{
		name:    "ENV sets several, with the values from before it, and replaces in place",
		text:    "FROM base\nENV A=1 B=$A\nENV A=2 C=$A B=\"x y\"\nENV D legacy value\n",
		want:    builder.Config{Env: []string{path, "A=2", "B=x y", "C=1", "D=legacy value"}},
		history: []string{"-ENV A=1 B=", "-ENV A=2 C=1 B=x y", "-ENV D=legacy value"},
	}, {
		name:    "PATH is set when the base has none",
		text:    "FROM tool\n",
		want:    builder.Config{Env: []string{"PATH=" + plan.DefaultPath}},
		history: nil,
	}, {
		name: "scratch has a PATH and a working directory",
		text: "FROM scratch\n",
		want: builder.Config{Env: []string{"PATH=" + plan.DefaultPath}, WorkingDir: "/"},
	}, {
		name:    "LABEL",
		text:    "FROM base\nENV V=3\nLABEL a=1 \"b c\"=$V\nLABEL a='$V'\n",
		want:    builder.Config{Env: []string{path, "V=3"}, Labels: map[string]string{"a": "$V", "b c": "3"}},
		history: []string{"-ENV V=3", "-LABEL a=1 b c=3", "-LABEL a=$V"},
	}, {
		name: "USER, VOLUME, STOPSIGNAL with variables",
		text: "FROM base\nARG X=v\nUSER $X:$X\nVOLUME /$X /b\nVOLUME [\"/c\"]\nSTOPSIGNAL SIG${S:-TERM}\n",
		want: builder.Config{
			Env: []string{path}, User: "v:v", StopSignal: "SIGTERM",
			Volumes: map[string]struct{}{"/v": {}, "/b": {}, "/c": {}},
		},
		history: []string{"-ARG X=v", "-USER v:v", "-VOLUME [/v /b]", "-VOLUME [/c]", "-STOPSIGNAL SIGTERM"},
	}, {
		name: "WORKDIR is relative to the one before",
		text: "FROM base\nWORKDIR a\nWORKDIR b\nENV D=c\nWORKDIR /x/$D\n",
		want: builder.Config{Env: []string{path, "D=c"}, WorkingDir: "/x/c"},
		history: []string{
			"WORKDIR /a", "WORKDIR /a/b", "-ENV D=c", "WORKDIR /x/c",
		},
	}, {
		name:    "EXPOSE sorts, splits after expansion and expands ranges",
		text:    "FROM base\nARG P=\"53/UDP 80\"\nEXPOSE 9000-9002/sctp $P\n",
		want:    builder.Config{Env: []string{path}, ExposedPorts: ports("53/udp", "80/tcp", "9000/sctp", "9001/sctp", "9002/sctp")},
		history: []string{"-ARG P=53/UDP 80", "-EXPOSE [53/udp 80/tcp 9000/sctp 9001/sctp 9002/sctp]"},
	}, {
		name:    "CMD and ENTRYPOINT in both forms",
		text:    "FROM base\nENTRYPOINT [\"/app\", \"-x\"]\nCMD echo $HOME\n",
		want:    builder.Config{Env: []string{path}, Entrypoint: []string{"/app", "-x"}, Cmd: []string{"/bin/sh", "-c", "echo $HOME"}},
		history: []string{`-ENTRYPOINT ["/app" "-x"]`, `-CMD ["/bin/sh" "-c" "echo $HOME"]`},
	}, {
		name:    "SHELL runs the shell forms after it",
		text:    "FROM base\nSHELL [\"/bin/bash\", \"-ec\"]\nRUN a\nCMD b\nENTRYPOINT c\n",
		want:    builder.Config{Env: []string{path}, Shell: []string{"/bin/bash", "-ec"}, Cmd: []string{"/bin/bash", "-ec", "b"}, Entrypoint: []string{"/bin/bash", "-ec", "c"}},
		history: []string{"-SHELL [/bin/bash -ec]", "RUN /bin/bash -ec a", `-CMD ["/bin/bash" "-ec" "b"]`, `-ENTRYPOINT ["/bin/bash" "-ec" "c"]`},
	}, {
		name: "HEALTHCHECK",
		text: "FROM base\nHEALTHCHECK --interval=5s --timeout=1m --start-period=2s --start-interval=1s --retries=0 CMD curl localhost\n",
		want: builder.Config{Env: []string{path}, Healthcheck: &builder.Healthcheck{
			Test: []string{"CMD-SHELL", "curl localhost"}, Interval: 5 * time.Second, Timeout: time.Minute,
			StartPeriod: 2 * time.Second, StartInterval: time.Second,
		}},
		history: []string{"-HEALTHCHECK {Test:[CMD-SHELL curl localhost] Interval:5s Timeout:1m0s StartPeriod:2s StartInterval:1s Retries:0}"},
	}, {
		name:    "HEALTHCHECK in the exec form, then NONE",
		text:    "FROM base\nHEALTHCHECK CMD [\"a\", \"b\"]\nHEALTHCHECK NONE\n",
		want:    builder.Config{Env: []string{path}, Healthcheck: &builder.Healthcheck{Test: []string{"NONE"}}},
		history: []string{"-HEALTHCHECK {Test:[CMD a b] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}", "-HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}"},
	}, {
		name:    "the escape directive governs continuation and dollar",
		text:    "# escape=`\nFROM base\nENV A=`$X B=c:\\d `\n  C=1\n",
		want:    builder.Config{Env: []string{path, "A=$X", "B=c:\\d", "C=1"}},
		history: []string{"-ENV A=$X B=c:\\d C=1"},
	}, {
		name:    "a child of a stage goes on with its configuration and history",
		text:    "FROM base AS a\nENV A=1\nUSER u\nFROM a\nENV B=$A\n",
		want:    builder.Config{Env: []string{path, "A=1", "B=1"}, User: "u"},
		history: []string{"-ENV A=1", "-USER u", "-ENV B=1"},
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := mustBuild(t, tt.text, nil)
			if got := f.target.config; !reflect.DeepEqual(got, tt.want) {
				t.Errorf("configuration:\n  %+v\nwant:\n  %+v", got, tt.want)
			}
			equal(t, "history", f.target.history, tt.history)
		})
	}
}

func ports(names ...string) map[string]struct{} {
	m := map[string]struct{}{}
	for _, name := range names {
		m[name] = struct{}{}
	}
	return m
}

// TestEntrypointAndCommand: ENTRYPOINT drops a CMD that comes from the base.
func TestEntrypointAndCommand(t *testing.T) {
	base := builder.Config{Cmd: []string{"base"}, Env: []string{"PATH=/bin"}}
	tests := []struct{ name, text, cmd string }{
		{"kept without ENTRYPOINT", "FROM cmd\nUSER x\n", "base"},
		{"dropped", "FROM cmd\nENTRYPOINT [\"e\"]\n", ""},
		{"own, set before", "FROM cmd\nCMD [\"own\"]\nENTRYPOINT [\"e\"]\n", "own"},
		{"own, set after", "FROM cmd\nENTRYPOINT [\"e\"]\nCMD [\"own\"]\n", "own"},
		{"of a stage, dropped in its child", "FROM cmd AS a\nCMD [\"own\"]\nFROM a\nENTRYPOINT [\"e\"]\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := mustBuild(t, tt.text, func(f *fake, _ *Options) { f.images["cmd"] = base })
			if got := strings.Join(f.target.config.Cmd, " "); got != tt.cmd {
				t.Errorf("CMD is %q, want %q", got, tt.cmd)
			}
		})
	}
}

// TestRun checks the arguments, the environment and the history of RUN.
func TestRun(t *testing.T) {
	tests := []struct {
		name, text string
		args       map[string]string
		cmd        []string
		env        []string
		uncached   []string
		files      map[string]string
		history    string
	}{{
		name: "shell form", text: "FROM base\nRUN echo \"$HOME\" \\\n  && ls\n",
		cmd: []string{"/bin/sh", "-c", "echo \"$HOME\"   && ls"}, history: "RUN /bin/sh -c echo \"$HOME\"   && ls",
	}, {
		name: "exec form", text: "FROM base\nRUN [\"/a\", \"$b\"]\n",
		cmd: []string{"/a", "$b"}, history: "RUN /a $b",
	}, {
		name: "arguments are in the environment and the history",
		text: "FROM base\nARG A=1\nARG B\nARG C=c\nARG A=2\nRUN x\n", args: map[string]string{"C": "given"},
		cmd: []string{"/bin/sh", "-c", "x"}, env: []string{"A=2", "C=given"},
		history: "RUN |3 A=2 B= C=given /bin/sh -c x",
	}, {
		name: "ENV after ARG wins", text: "FROM base\nARG A=1\nENV A=2\nRUN x\n", args: map[string]string{"A": "3"},
		cmd: []string{"/bin/sh", "-c", "x"}, history: "RUN |1 A=2 /bin/sh -c x",
	}, {
		name: "proxies stay out of the history and the key", text: "FROM base\nRUN x\n",
		args: map[string]string{"http_proxy": "p", "NO_PROXY": "n", "ALL_PROXY": ""},
		cmd:  []string{"/bin/sh", "-c", "x"}, history: "RUN /bin/sh -c x",
		uncached: []string{"HTTP_PROXY=p", "http_proxy=p", "NO_PROXY=n", "no_proxy=n"},
	}, {
		name: "a here-document is the script", text: "FROM base\nRUN <<EOF\na $b\nc\nEOF\n",
		cmd: []string{"/bin/sh", "-c", "a $b\nc\n"}, history: "RUN /bin/sh -c a $b\nc\n",
	}, {
		name: "a here-document with tabs stripped", text: "FROM base\nRUN <<-EOF\n\ta\n\t\tb\n\tEOF\n",
		cmd: []string{"/bin/sh", "-c", "a\nb\n"}, history: "RUN /bin/sh -c a\nb\n",
	}, {
		name: "here-documents within a command are the shell's",
		text: "FROM base\nRUN cat <<A 3<<B\n1\nA\n2\nB\n",
		cmd:  []string{"/bin/sh", "-c", "cat <<A 3<<B\n1\nA\n2\nB"}, history: "RUN /bin/sh -c cat <<A 3<<B\n1\nA\n2\nB",
	}, {
		name: "a here-document that names its interpreter", text: "FROM base\nRUN <<-EOF\n\t#!/bin/x -y\n\tz\nEOF\n",
		cmd: []string{"/bin/sh", "-c", "/dev/pipes/EOF"}, history: "RUN /bin/sh -c /dev/pipes/EOF",
		files: map[string]string{"EOF": "#!/bin/x -y\nz\n"},
	}, {
		name: "an interpreter with SHELL, a descriptor and a name that is no file's",
		text: "FROM base\nSHELL [\"/s\", \"-x\"]\nRUN 3<<\"../E\"\n#!/bin/x\n../E\n",
		cmd:  []string{"/s", "-x", "/dev/pipes/script"}, history: "RUN /s -x /dev/pipes/script",
		files: map[string]string{"script": "#!/bin/x\n"},
	}, {
		name: "an interpreter's line within a command is not the builder's", text: "FROM base\nRUN cat <<E\n#!/bin/x\nE\n",
		cmd: []string{"/bin/sh", "-c", "cat <<E\n#!/bin/x\nE"}, history: "RUN /bin/sh -c cat <<E\n#!/bin/x\nE",
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := mustBuild(t, tt.text, func(_ *fake, o *Options) { o.BuildArgs = arguments(tt.args) })
			cmd := f.cmds[0]
			equal(t, "command", cmd.Args, tt.cmd)
			equal(t, "environment", f.beyondConfig(cmd.Env), tt.env)
			equal(t, "uncached environment", cmd.UncachedEnv, tt.uncached)
			if !maps.Equal(cmd.Files, tt.files) {
				t.Errorf("files %q, want %q", cmd.Files, tt.files)
			}
			if got := f.target.history[len(f.target.history)-1]; got != tt.history {
				t.Errorf("history %q, want %q", got, tt.history)
			}
		})
	}
}

// TestCopy checks what COPY and ADD hand to the builder.
func TestCopy(t *testing.T) {
	ctx, err := filepath.Abs("ctx")
	if err != nil {
		t.Fatal(err)
	}
	dir := func(patterns ...string) buildertest.Source { return buildertest.Source{Dir: ctx, Patterns: patterns} }
	with := func(src buildertest.Source, change func(*buildertest.Source)) buildertest.Source {
		change(&src)
		return src
	}
	tests := []struct {
		name, text string
		verb, dest string
		want       buildertest.Source
		history    string
	}{{
		"a file", "COPY a b",
		"COPY", "/b", dir("a"), "COPY a b",
	}, {
		"several, with an owner, a mode and variables", "ARG U=me D=/d/ S=x\nCOPY --chown=$U:grp --chmod=0640 $S /y/../z? $D",
		"COPY", "/d", with(dir("x", "z?"), func(s *buildertest.Source) { s.Chown, s.Chmod = "me:grp", "0640" }),
		"COPY --chown=me:grp --chmod=0640 x /y/../z? /d/",
	}, {
		"sources cannot leave the context", "COPY ../../etc /",
		"COPY", "/", dir("etc"), "COPY ../../etc /",
	}, {
		"the whole context", "WORKDIR /w\nCOPY . .",
		"COPY", "/w", dir("."), "COPY . .",
	}, {
		"a destination that a variable leaves blank", "WORKDIR /w\nCOPY a $UNSET",
		"COPY", "/w", dir("a"), "COPY a ",
	}, {
		"link", "COPY --link --chown=1:2 a /b/.",
		"COPY link", "/b", with(dir("a"), func(s *buildertest.Source) { s.Chown = "1:2" }), "COPY --chown=1:2 a /b/.",
	}, {
		"ADD with link and an owner", "ADD --link --chown=5 a /b",
		"ADD link", "/b", with(dir("a"), func(s *buildertest.Source) { s.Chown = "5" }), "ADD --chown=5 a /b",
	}, {
		"ADD with link and a symbolic mode", "ADD --link --chmod=u=rwX,go=rX a /b",
		"ADD", "/b", with(dir("a"), func(s *buildertest.Source) { s.Chmod = "u=rwX,go=rX" }), "ADD --chmod=u=rwX,go=rX a /b",
	}, {
		"parents", "ARG D=d\nCOPY --parents ./x/./$D/**/*.go /b/",
		"COPY", "/b", with(dir("./x/./d/**/*.go"), func(s *buildertest.Source) { s.Parents = true }),
		"COPY --parents ./x/./d/**/*.go /b/",
	}, {
		"JSON form", `COPY ["a b", "c d/"]`,
		"COPY", "/c d", dir("a b"), "COPY a b c d/",
	}, {
		"ADD unpacks", "ADD --exclude=*.txt a.tar /",
		"ADD", "/", with(dir("a.tar"), func(s *buildertest.Source) { s.Exclude = []string{"*.txt"} }), "ADD a.tar /",
	}, {
		"ADD told not to unpack", "ADD --unpack=false a.tar /",
		"COPY", "/", dir("a.tar"), "ADD a.tar /",
	}, {
		"ADD of the web", "ADD --checksum=sha256:" + sum + " --chmod=600 http://h/f /",
		"ADD", "/", buildertest.Source{Remote: "http://h/f", Checksum: "sha256:" + sum, Chmod: "600"}, "ADD --chmod=600 http://h/f /",
	}, {
		"ADD of a repository", "ADD --exclude=x --chown=7 https://h/r.git /d/",
		"ADD", "/d", buildertest.Source{Remote: "https://h/r.git", Exclude: []string{"x"}, Chown: "7"}, "ADD --chown=7 https://h/r.git /d/",
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := mustBuild(t, "FROM base\n"+tt.text+"\n", func(_ *fake, o *Options) { o.Context.Dir = "ctx" })
			got := f.copies[0]
			if got.Link {
				got.Verb += " link"
			}
			if got.Verb != tt.verb || got.Dest != tt.dest || len(got.Sources) != 1 || !reflect.DeepEqual(got.Sources[0], tt.want) {
				t.Errorf("copied:\n  %+v\nwant:\n  %s %s %+v", got, tt.verb, tt.dest, tt.want)
			}
			if got := f.target.history[len(f.target.history)-1]; got != tt.history {
				t.Errorf("history %q, want %q", got, tt.history)
			}
		})
	}
}

// TestSources checks which sources COPY and ADD take, as far as the builder does not tell.
func TestSources(t *testing.T) {
	dir := func(patterns ...string) builder.Source { return builder.Dir("ctx").Select(patterns...) }
	for text, want := range map[string][]builder.Source{
		"ADD --unpack http://h/f /": {builder.URL("http://h/f").Unpack().Checksum("")},
		"ADD --keep-git-dir=true --exclude=x https://h/r.git a /d/": {
			dir("a").Exclude("x"), builder.Git("https://h/r.git").Agent("").KeepGitDir(true).Exclude("x").Checksum(""),
		},
		"COPY a <<b <<\"c\" /d/\n1\nb\n$X\nc": {dir("a"), builder.Bytes("b", []byte("1\n")), builder.Bytes("c", []byte("$X\n"))},
	} {
		opts := Options{Context: Context{Dir: "ctx"}}
		r, err := newBuilding(t.Context(), nil, opts, loadText(t, "FROM base\n"+text+"\n", opts), "", newShared(opts))
		if err != nil {
			t.Fatal(err)
		}
		made := &task{building: r}
		var c transfer
		switch ic := r.plan.Target.Commands[0].Command.(type) {
		case *instructions.CopyCommand:
			c = made.copying(ic, made.context())
		case *instructions.AddCommand:
			c = made.adding(ic)
		}
		got, _, err := made.sources(t.Context(), c)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n  %+v, %v\nwant:\n  %+v", text, got, err, want)
		}
	}
}

// TestDestination: the working directory is a directory, whatever is there.
func TestDestination(t *testing.T) {
	for text, want := range map[string]string{"": "./", ".": "./", "a/..": "a/../", "/b/.": "/b/./", "b": "b", "/d/": "/d/", "c d/": "c d/"} {
		if got := destination(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// sum is a checksum of nothing in particular.
const sum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestExposed(t *testing.T) {
	good := map[string]string{
		"80": "80/tcp", "80/": "80/tcp", "53/UDP": "53/udp", "9/sctp": "9/sctp", "0": "0/tcp",
		"1-3/udp": "1/udp 2/udp 3/udp", "5-5": "5/tcp",
		"8080:80": "80/tcp", "127.0.0.1::80": "80/tcp", "[::1]:8080:80/udp": "80/udp", "1000-2000:80": "80/tcp",
		"10-11:80-81": "80/tcp 81/tcp",
	}
	for spec, want := range good {
		got, err := exposed(spec)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v; want %s", spec, got, err, want)
		}
	}
	for _, spec := range []string{"", "x", "80/http", "65536", "-1", "3-1", "1-", "-", "a:80", "300.0.0.1:1:80", "1-2:80-85", "80:", "1e3", "+8"} {
		if got, err := exposed(spec); err == nil {
			t.Errorf("%q gives %q, want an error", spec, got)
		}
	}
}

func TestSignals(t *testing.T) {
	for _, good := range []string{"1", "9", "64", "SIGTERM", "term", "sigquit", "SIGCLD", "RTMIN", "SIGRTMIN+3", "rtmax-1", "SIGRTMAX"} {
		if err := checkSignal(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "0", "65", "-1", "SIG", "SIGNOPE", "RTMIN+0", "RTMIN+31", "RTMAX+1", "RTMIN+x", "9 "} {
		if checkSignal(bad) == nil {
			t.Errorf("%q is taken for a signal", bad)
		}
	}
}

// TestBaseIsNotChanged: an image's configuration maps are not shared with a child.
func TestBaseIsNotChanged(t *testing.T) {
	f := mustBuild(t, "FROM lab\nLABEL b=2\nEXPOSE 1\nENV X=2\n", func(f *fake, _ *Options) {
		f.images["lab"] = builder.Config{Labels: map[string]string{"a": "1"}, Env: []string{"X=1"}, ExposedPorts: ports("2/tcp")}
	})
	if got := slices.Sorted(maps.Keys(f.target.config.Labels)); len(got) != 2 {
		t.Errorf("labels %q", got)
	}
	if base := f.images["lab"]; len(base.Labels) != 1 || base.Env[0] != "X=1" || len(base.ExposedPorts) != 1 {
		t.Errorf("the base became %+v", base)
	}
}
