package dockerfile

import (
	"reflect"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
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
		{"destination of a copy in a working directory", "FROM base\nWORKDIR /a\nCOPY b .\n", []string{"WORKDIR /a", "COPY b -> ./"}},
		{"sources are not split after expansion", "FROM base\nARG A=\"b c\"\nCOPY $A /\n", []string{"COPY b c -> /"}},
		{"variables in a trigger are those of the child", "FROM base AS a\nENV V=base\nONBUILD WORKDIR /$V-$W\nENV V=late\nFROM a\n", []string{"WORKDIR /late-"}},
		{"a trigger with a here-document", "FROM base AS a\nONBUILD RUN <<EOF\nx\ny\nEOF\nFROM a\n", []string{"RUN /bin/sh -c x\ny\n"}},
		{"the host's network is what every RUN has", "FROM base\nRUN --network=host a\n", []string{"RUN /bin/sh -c a"}},
		{"bytes that are not UTF-8", "FROM base\nARG A=\xe9\xe8\nRUN echo \xe9\nRUN [\"a\", \"\xe9\"]\nCOPY --chown=\xe9 \xe9 $A ${A#\xe9} \"${A/?/x}\" ${A%%\xe8} ${N:-\xff} /\xe9/\n",
			[]string{"RUN /bin/sh -c echo \xe9", "RUN a \xe9", "COPY \xe9 \xe9\xe8 \xe8 x\xe8 \xe9 \xff -> /\xe9/"}},
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
	f := &optionsFake{fake: fake{images: map[string]builder.Config{"base": {}}}}
	opts := Options{ContextDir: t.TempDir(), Jobs: 1, Pull: builder.PullAlways, NoCache: true}
	r, err := newRun(t.Context(), f, opts, source{text: []byte("FROM base AS a\nFROM a\nCOPY --from=base / /\n")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if _, err := r.stages(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.opts.NoCache, r.opts.NoCacheStages = false, []string{"a"}
	if !r.stageOptions("a").NoCache || !r.stageOptions("A").NoCache || r.stageOptions("b").NoCache {
		t.Error("NoCacheStages are not the stages without cache")
	}
	want := builder.StageOptions{Name: "a", Pull: builder.PullAlways, NoCache: true}
	f.got[0].Below = nil // see TestBelowTheContext
	if want.Build = f.got[1].Build; want.Build == "" {
		t.Error("the stages are of no build")
	}
	if len(f.got) != 2 || f.got[0] != want || f.got[1].Pull != builder.PullAlways {
		t.Errorf("stages opened with %+v", f.got)
	}
}

// What a Dockerfile names is looked up in its context, and what the options name is not.
func TestBelowTheContext(t *testing.T) {
	dir := t.TempDir()
	const file = "oci-archive:x.tar"
	images := map[string]builder.Config{file: {OnBuild: []string{"COPY --from=oci:trigger / /"}}, "oci:trigger": {}, "oci-archive:/given.tar": {}, "base": {}}
	for text, test := range map[string]struct {
		opts  Options
		below []any // of each image: what Below is
	}{
		"FROM " + file + "\n":                                   {Options{ContextDir: dir}, []any{builder.Dir(dir), builder.Dir(dir)}}, // and the trigger's
		"FROM base\nCOPY --from=" + file + " / /\n":             {Options{ContextDir: dir}, []any{builder.Dir(dir), builder.Dir(dir)}},
		"ARG B=x.tar\nFROM oci-archive:$B AS b\n":               {Options{}, []any{builder.Source{}, builder.Source{}}},
		"FROM whatever\n":                                       {Options{ContextDir: dir, From: "oci-archive:/given.tar"}, []any{nil}},
		"FROM x\n":                                              {Options{ContextDir: dir, Contexts: map[string]string{"x": "docker-image://oci-archive:/given.tar"}}, []any{nil}},
		"FROM x AS y\nFROM base\nCOPY --from=oci:trigger / /\n": {Options{ContextDir: dir, Jobs: 1}, []any{builder.Dir(dir), builder.Dir(dir)}},
	} {
		f := &optionsFake{fake: fake{images: images}}
		test.opts.Jobs, test.opts.Dockerfile = 1, strings.NewReader(text)
		if _, err := build(t.Context(), f, test.opts); err != nil && !strings.Contains(err.Error(), "no build context") {
			t.Errorf("%q: %v", text, err)
		}
		var got []any
		for _, o := range f.got {
			if o.Below == nil {
				got = append(got, nil)
			} else {
				got = append(got, *o.Below)
			}
		}
		if !reflect.DeepEqual(got, test.below) {
			t.Errorf("%q: images are looked up below %+v, want %+v", text, got, test.below)
		}
	}
}
