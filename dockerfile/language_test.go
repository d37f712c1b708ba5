package dockerfile

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/buildertest"
)

// TestLanguage checks what comes of the way in which a file is written.
func TestLanguage(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // operations after FROM and before the commit
	}{
		{"any case, leading space", "  from base\n\t rUn a\n", []string{"RUN /bin/sh -c a"}},
		{"comments, within a continuation too", "# c\nFROM base\nRUN a \\\n# c\n  # d\n  b # e\n", []string{"RUN /bin/sh -c a   b # e"}},
		{"byte order mark and CRLF", "\ufeffFROM base\r\nRUN a \\\r\n  b\r\n", []string{"RUN /bin/sh -c a   b"}},
		{"syntax directive", "# syntax=docker/dockerfile:1\nFROM base\nRUN a\n", []string{"RUN /bin/sh -c a"}},
		{"interpreter line", "#!/usr/bin/env oakum\nFROM base\nRUN a\n", []string{"RUN /bin/sh -c a"}},
		{"unknown directive is a comment", "# foo=bar\n# escape=`\nFROM base\nRUN a \\\n b\n", []string{"RUN /bin/sh -c a  b"}},
		{"directive after a comment is a comment", "# c\n# escape=`\nFROM base\nRUN a \\\n b\n", []string{"RUN /bin/sh -c a  b"}},
		{"bad JSON is a shell form", "FROM base\nRUN ['a']\n", []string{"RUN /bin/sh -c ['a']"}},
		{"RUN, CMD are not expanded", "FROM base\nENV A=1\nRUN echo $A ${B?x}\n", []string{"RUN /bin/sh -c echo $A ${B?x}"}},
		{"destination of a copy in a working directory", "FROM base\nWORKDIR /a\nCOPY b .\n", []string{"WORKDIR /a", "COPY b -> /a"}},
		{"sources are not split after expansion", "FROM base\nARG A=\"b c\"\nCOPY $A /\n", []string{"COPY b c -> /"}},
		{"variables in a trigger are those of the child", "FROM base AS a\nENV V=base\nONBUILD WORKDIR /$V-$W\nENV V=late\nFROM a\n", []string{"WORKDIR /late-"}},
		{"a trigger with a here-document", "FROM base AS a\nONBUILD RUN <<EOF\nx\ny\nEOF\nFROM a\n", []string{"RUN /bin/sh -c x\ny\n"}},
		{"bytes that are not UTF-8", "FROM base\nARG A=\xe9\xe8\nRUN echo \xe9\nRUN [\"a\", \"\xe9\"]\nCOPY --chown=\xe9 \xe9 $A ${A#\xe9} \"${A/?/x}\" ${A%%\xe8} ${N:-\xff} /\xe9/\n",
			[]string{"RUN /bin/sh -c echo \xe9", "RUN a \xe9", "COPY \xe9 \xe9\xe8 \xe8 x\xe8 \xe9 \xff -> /\xe9"}},
		{"bytes in here-documents", "FROM base\nRUN <<EOF\n\xe9\nEOF\nRUN cat <<\xe9 <<\xe8\n\xe9\xe9\n\xe9\n\xe8\xe8\n\xe8\nRUN <<\xe9\nx\xff\n\xe9\n",
			[]string{"RUN /bin/sh -c \xe9\n", "RUN /bin/sh -c cat <<\xe9 <<\xe8\n\xe9\xe9\n\xe9\n\xe8\xe8\n\xe8", "RUN /bin/sh -c x\xff\n"}},
		{"characters that stand for bytes elsewhere", "FROM base\nARG A=\U0010FEE9\nRUN \U0010FEE9 \xf4\x8f\nCOPY $A /\n", []string{"RUN /bin/sh -c \U0010FEE9 \xf4\x8f", "COPY \U0010FEE9 -> /"}},
		{"network and security that are the default", "FROM base\nRUN --network=default --security=sandbox a\n", []string{"RUN /bin/sh -c a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := mustBuild(t, tt.text, nil)
			var got []string
			for _, line := range f.log {
				if _, op, _ := strings.Cut(line, ": "); !strings.HasPrefix(op, "FROM") && !strings.HasPrefix(op, "FORK") && !strings.HasPrefix(op, "COMMIT") {
					got = append(got, op)
				}
			}
			equal(t, "operations", got, tt.want)
		})
	}
}

// TestExpansion checks the forms of variables (Dockerfile reference, "Environment
// replacement") in an instruction of the build.
func TestExpansion(t *testing.T) {
	tests := []struct{ word, want string }{
		{"$V", "a.b.c"}, {"${V}", "a.b.c"}, {`\$V`, "$V"}, {"'$V'", "$V"}, {`"$V"`, "a.b.c"},
		{"${X:-w}", "w"}, {"${E:-w}", "w"}, {"${E-w}", ""}, {"${X-w}", "w"}, {"${V:+w}", "w"}, {"${E:+w}", ""}, {"${E+w}", "w"},
		{"${X:-${V}}", "a.b.c"}, {"${V#*.}", "b.c"}, {"${V##*.}", "c"}, {"${V%.*}", "a.b"}, {"${V%%.*}", "a"},
		{"${V/./-}", "a-b.c"}, {"${V//./-}", "a-b-c"}, {"$UNSET", ""},
	}
	for _, tt := range tests {
		f := mustBuild(t, "FROM base\nENV V=a.b.c E=\nENV R="+tt.word+"\n", nil)
		env := f.target.config.Env
		if got := env[len(env)-1]; got != "R="+tt.want {
			t.Errorf("%s gives %q, want %q", tt.word, got, tt.want)
		}
	}
	for _, word := range []string{"${X:?m}", "${X?m}", "${E:?m}", "${}", "${V:x}"} {
		if _, err := buildText(t, "FROM base\nENV V=a E=\nENV R="+word+"\n", nil); err == nil {
			t.Errorf("%s gives no error", word)
		}
	}
}

// TestPullAndCacheOptions: every stage and image is opened as the options say.
func TestPullAndCacheOptions(t *testing.T) {
	f := &fake{images: map[string]builder.Config{"base": {}}}
	opts := Options{Context: Context{Dir: t.TempDir()}, Steps: Steps{Jobs: 1, Pull: "always", NoCache: true}}
	r, err := newBuilding(t.Context(), f.builder(t), opts, loadText(t, "FROM base AS a\nFROM a\nCOPY --from=base / /\n", opts), "", newShared(opts))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if _, err := r.stages(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.opts.Steps.NoCache, r.opts.Steps.NoCacheStages = false, []string{"a"}
	if !r.stageOptions("a").NoCache || !r.stageOptions("A").NoCache || r.stageOptions("b").NoCache {
		t.Error("NoCacheStages are not the stages without cache")
	}
	want := builder.StageOptions{Name: "a", Pull: "always", NoCache: true}
	if want.Build = f.ops[1].Options.Build; want.Build == "" {
		t.Error("the stages are of no build")
	}
	if len(f.ops) != 3 || !reflect.DeepEqual(f.ops[0].Options, want) || f.ops[1].Options.Pull != "always" {
		t.Errorf("stages opened with %+v", f.ops)
	}
}

// What a Dockerfile names is looked up in its context, and what the options name is not.
func TestBelowTheContext(t *testing.T) {
	dir := t.TempDir()
	in := buildertest.Source{Dir: dir}
	const file = "oci-archive:x.tar"
	images := map[string]builder.Config{file: {OnBuild: []string{"COPY --from=oci:trigger / /"}}, "oci:trigger": {}, "oci-archive:/given.tar": {}, "base": {}}
	for text, test := range map[string]struct {
		opts  Options
		below []any // of each image: what Below is
	}{
		"FROM " + file + "\n":                                   {Options{Context: Context{Dir: dir}}, []any{in, in}}, // and the trigger's
		"FROM base\nCOPY --from=" + file + " / /\n":             {Options{Context: Context{Dir: dir}}, []any{in, in}},
		"ARG B=x.tar\nFROM oci-archive:$B AS b\n":               {Options{}, []any{buildertest.Source{}, buildertest.Source{}}},
		"FROM whatever\n":                                       {Options{Context: Context{Dir: dir}, From: "oci-archive:/given.tar"}, []any{nil}},
		"FROM x\n":                                              {Options{Context: Context{Dir: dir, Named: map[string]string{"x": "docker-image://oci-archive:/given.tar"}}}, []any{nil}},
		"FROM x AS y\nFROM base\nCOPY --from=oci:trigger / /\n": {Options{Context: Context{Dir: dir}, Steps: Steps{Jobs: 1}}, []any{in, in}},
	} {
		f := &fake{images: images}
		test.opts.Steps.Jobs, test.opts.File.Text = 1, strings.NewReader(text)
		if _, err := Build(t.Context(), f.builder(t), test.opts); err != nil && !strings.Contains(err.Error(), "no build context") && !errors.Is(err, builder.ErrReference) {
			t.Errorf("%q: %v", text, err)
		}
		var got []any
		for _, op := range f.ops {
			switch {
			case op.Verb == "FORK":
			case op.Below == nil:
				got = append(got, nil)
			default:
				got = append(got, *op.Below)
			}
		}
		if !reflect.DeepEqual(got, test.below) {
			t.Errorf("%q: images are looked up below %+v, want %+v", text, got, test.below)
		}
	}
}

// Without an image all is built, and nothing is committed.
func TestNoImage(t *testing.T) {
	for _, platforms := range [][]string{nil, {"linux/amd64", "linux/arm64"}} {
		f := &fake{}
		opts := Options{File: File{Path: "Dockerfile", Text: strings.NewReader("FROM scratch\nWORKDIR /a\n")}, Platforms: platforms, Steps: Steps{CacheOnly: true}}
		img, err := Build(t.Context(), f.builder(t), opts)
		if err != nil || img.ID != "" || len(f.commits) > 0 || !strings.Contains(strings.Join(f.log, "\n"), "WORKDIR") {
			t.Errorf("for %v: %v, %v, %d commits of\n%s", platforms, img, err, len(f.commits), strings.Join(f.log, "\n"))
		}
		opts.Image.Names = []string{"a"}
		if _, err := Build(t.Context(), f.builder(t), opts); err == nil {
			t.Error("an image that is not written has a name")
		}
	}
}
