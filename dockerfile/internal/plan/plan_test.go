package plan

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// newPlan parses and plans a Dockerfile.
func newPlan(text []byte, opts Options) (*Plan, error) {
	file, err := Parse(text, silent())
	if err != nil {
		return nil, err
	}
	return file.Plan(opts)
}

// mustPlan plans a Dockerfile that has no fault.
func mustPlan(t *testing.T, text string, opts Options) *Plan {
	t.Helper()
	p, err := newPlan([]byte(text), opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// names lists stages as the user calls them.
func names(stages []*Stage) string {
	var list []string
	for _, s := range stages {
		list = append(list, s.Name)
	}
	return strings.Join(list, " ")
}

func TestNeeded(t *testing.T) {
	text := `FROM x AS a
FROM x AS b
FROM a AS c
COPY --from=b / /
FROM x AS d
FROM c AS e
COPY --from=0 / /
COPY --from=image / /
FROM d
`
	tests := []struct{ target, want string }{
		{"", "d 5"}, {"5", "d 5"}, {"a", "a"}, {"C", "a b c"}, {"e", "a b c e"}, {"3", "d"},
	}
	for _, tt := range tests {
		p := mustPlan(t, text, Options{Target: tt.target})
		if got := names(p.Needed()); got != tt.want {
			t.Errorf("target %q needs %q, want %q", tt.target, got, tt.want)
		}
	}
}

func TestStageOfAName(t *testing.T) {
	// A name that is used twice means the nearest stage above.
	p := mustPlan(t, "FROM x AS a\nFROM a AS b\nFROM y AS a\nFROM a AS c\nCOPY --from=a / /\n", Options{})
	if p.Stages[1].Base != p.Stages[0] || p.Stages[3].Base != p.Stages[2] || p.Stages[3].Commands[0].From[0] != p.Stages[2] {
		t.Error("a name does not mean the nearest stage above")
	}
	if p.Target != p.Stages[3] {
		t.Errorf("the target is %s", p.Target.Name)
	}
}

func TestImagesAreShared(t *testing.T) {
	p := mustPlan(t, "FROM x\nCOPY --from=i / /\nFROM x\nCOPY --from=i / /\nCOPY --from=0 / /\n", Options{})
	first, second := p.Stages[0].Commands[0].From[0], p.Stages[1].Commands[0].From[0]
	if first != second || first.Index != -1 || first.Image != "i" || first.Line != 2 {
		t.Errorf("the images are %+v and %+v", first, second)
	}
}

// TestScope checks the value that a variable has at the end of the last stage.
func TestScope(t *testing.T) {
	tests := []struct {
		name, text string
		args       map[string]string
		env        []string // of the base image
		variable   string
		want       string
		unset      bool
	}{
		{name: "default", text: "FROM x\nARG V=1\n", variable: "V", want: "1"},
		{name: "without a value", text: "FROM x\nARG V\n", variable: "V", unset: true},
		{name: "build argument", text: "FROM x\nARG V=1\n", args: map[string]string{"V": "2"}, variable: "V", want: "2"},
		{name: "empty build argument", text: "FROM x\nARG V=1\n", args: map[string]string{"V": ""}, variable: "V", want: ""},
		{name: "undeclared build argument", text: "FROM x\n", args: map[string]string{"V": "2"}, variable: "V", unset: true},
		{name: "header argument not declared in the stage", text: "ARG V=1\nFROM x\n", variable: "V", unset: true},
		{name: "header argument declared in the stage", text: "ARG V=1\nFROM x\nARG V\n", variable: "V", want: "1"},
		{name: "the stage's default beats the header's", text: "ARG V=1\nFROM x\nARG V=2\n", variable: "V", want: "2"},
		{name: "header argument given", text: "ARG V=1\nFROM x\nARG V\n", args: map[string]string{"V": "3"}, variable: "V", want: "3"},
		{name: "header argument of another", text: "ARG A=1\nARG V=$A.2\nFROM x\nARG V\n", variable: "V", want: "1.2"},
		{name: "header argument without a value", text: "ARG V\nFROM x\nARG V\n", variable: "V", unset: true},
		{name: "several in one instruction", text: "FROM x\nARG A=1 V=$A$A\n", variable: "V", want: "11"},
		{name: "ENV after ARG", text: "FROM x\nARG V=1\nENV V=2\n", args: map[string]string{"V": "3"}, variable: "V", want: "2"},
		{name: "ARG with ENV as its default", text: "FROM x\nENV E=1\nARG V=$E\n", variable: "V", want: "1"},
		{name: "the image's environment", text: "FROM x\nENV V=$E\n", env: []string{"E=img"}, variable: "V", want: "img"},
		{name: "inherited from a stage", text: "FROM x AS a\nARG V=1\nFROM a\n", variable: "V", want: "1"},
		{name: "not from a stage that is only beside", text: "FROM x AS a\nARG V=1\nFROM x\nCOPY --from=a / /\n", variable: "V", unset: true},
		{name: "a base stage's ENV beats its later ARG in the child", text: "FROM x AS a\nENV V=1\nARG V=2\nFROM a\n", variable: "V", want: "1"},
		{name: "platform, declared", text: "FROM x\nARG TARGETOS\n", variable: "TARGETOS", want: "linux"},
		{name: "platform, undeclared", text: "FROM x\n", variable: "TARGETOS", unset: true},
		{name: "platform, with a default", text: "FROM x\nARG TARGETOS=mine\n", variable: "TARGETOS", want: "mine"},
		{name: "platform, given", text: "FROM x\nARG TARGETARCH\n", args: map[string]string{"TARGETARCH": "z"}, variable: "TARGETARCH", want: "z"},
		{name: "target stage", text: "FROM x AS last\nARG TARGETSTAGE\n", variable: "TARGETSTAGE", want: "last"},
		{name: "target stage without a name", text: "FROM x\nARG TARGETSTAGE\n", variable: "TARGETSTAGE", want: "default"},
		{name: "an argument that is no variable", text: "FROM x\nARG BUILDKIT_SBOM_SCAN_STAGE=1\n", variable: "BUILDKIT_SBOM_SCAN_STAGE", unset: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := mustPlan(t, tt.text, Options{Args: tt.args})
			var scope *Scope
			for _, s := range p.Needed() {
				scope, _ = runScope(t, p, s, tt.env)
			}
			got, ok := scope.vars.Get(tt.variable)
			if got != tt.want || ok == tt.unset {
				t.Errorf("%s is %q, set %v; want %q", tt.variable, got, ok, tt.want)
			}
		})
	}
}

// runScope takes a stage and those that it is based on through their ARG and ENV. Its
// configuration has the environment env then.
func runScope(t *testing.T, p *Plan, s *Stage, image []string) (scope *Scope, env []string) {
	t.Helper()
	var base *Scope
	env = slices.Clone(image)
	if s.Base != nil {
		base, env = runScope(t, p, s.Base, image)
	}
	scope = p.Scope(base, env)
	for _, c := range s.Commands {
		expanded, err := scope.Expand(c)
		if err != nil {
			t.Fatal(err)
		}
		switch c := expanded.(type) {
		case *instructions.ArgCommand:
			if _, err := scope.Declare(c); err != nil {
				t.Fatal(err)
			}
		case *instructions.EnvCommand:
			for _, kv := range c.Env {
				scope.Set(kv.Key, kv.Value)
				env = SetEnv(env, kv.Key, kv.Value)
			}
		}
	}
	return scope, env
}

func TestRunEnv(t *testing.T) {
	p := mustPlan(t, "FROM x\n", Options{})
	s := p.Scope(nil, []string{"PATH=/bin", "A=1"})
	s.Set("B", "2")
	s.Set("A", "changed")
	if got := s.RunEnv([]string{"PATH=/bin", "A=1"}); !slices.Equal(got, []string{"A=changed", "B=2"}) {
		t.Errorf("environment %q", got)
	}
}

func TestSetEnv(t *testing.T) {
	env := SetEnv([]string{"A=1", "AB=2", "C"}, "A", "3")
	env = SetEnv(env, "C", "")
	env = SetEnv(env, "D", "x=y")
	if !slices.Equal(env, []string{"A=3", "AB=2", "C=", "D=x=y"}) {
		t.Errorf("environment %q", env)
	}
	for name, want := range map[string]string{"A": "3", "D": "x=y", "C": ""} {
		if got, ok := Lookup(env, name); got != want || !ok {
			t.Errorf("%s is %q", name, got)
		}
	}
	if _, ok := Lookup(env, "B"); ok {
		t.Error("B is set")
	}
}

func TestUnused(t *testing.T) {
	p := mustPlan(t, "ARG HEAD\nFROM x AS other\nARG OTHER\nFROM trig\nARG VERSION\n", Options{Args: map[string]string{
		"HEAD": "", "OTHER": "", "VERSION": "", "VERSOIN": "", "no_proxy": "", "TARGETARCH": "", "TRIGGER": "", "X": "", "BUILDKIT_SYNTAX": "", "BUILDKIT_GIT_ADVICE": "", "BUILDKIT_SINTAX": "",
	}})
	if _, err := p.Triggers(p.Target, []string{"ARG TRIGGER"}); err != nil {
		t.Fatal(err)
	}
	unused, meant := p.Unused()
	if !slices.Equal(unused, []string{"BUILDKIT_SINTAX", "VERSOIN", "X"}) || meant["VERSOIN"] != "VERSION" || meant["X"] != "" || meant["BUILDKIT_SINTAX"] != "BUILDKIT_SYNTAX" {
		t.Errorf("unused %q, meant for %q", unused, meant)
	}
}

func TestProxyEnv(t *testing.T) {
	p := mustPlan(t, "FROM x\n", Options{Args: map[string]string{"HTTPS_PROXY": "upper", "https_proxy": "lower", "All_Proxy": "a", "FTP_PROXY": ""}})
	want := []string{"HTTPS_PROXY=lower", "https_proxy=lower", "ALL_PROXY=a", "all_proxy=a"}
	if got := p.ProxyEnv(); !slices.Equal(got, want) {
		t.Errorf("proxies %q, want %q", got, want)
	}
}

// TestPlatforms: what each stage's image is taken for.
func TestPlatforms(t *testing.T) {
	host := platforms.Format(platforms.DefaultSpec())
	const cross = "linux/arm/v7"
	for _, tt := range []struct{ from, platform, want string }{
		{"x", "", ""},
		{"x", cross, cross},
		{"x", "local", host},
		{"x", "linux/arm64/v8", "linux/arm64"},
		{"--platform=$BUILDPLATFORM x", "", host},
		{"--platform=$BUILDPLATFORM x", cross, host},
		{"--platform=${TARGETOS}/$TARGETARCH x", cross, cross},
		{"--platform=$TARGETPLATFORM x", "", host},
		{"--platform=linux/arm64/v8 x", cross, "linux/arm64"},
		{"--platform=local x", cross, host},
		{"--platform=linux/arm64 scratch", cross, cross},
		{"--platform=linux/arm64 scratch", "", ""},
	} {
		p := mustPlan(t, "FROM "+tt.from+"\nCOPY --from=y a /\n", Options{Platform: tt.platform})
		if got := p.Target.Platform; got != tt.want {
			t.Errorf("FROM %s for %q: %q, want %q", tt.from, tt.platform, got, tt.want)
		}
		if got := p.images["y"].Platform; got != p.platform {
			t.Errorf("the image copied from is taken for %q, want %q", got, p.platform)
		}
	}
}

// TestPlatformArgs: the arguments tell the target's platform, and this machine's.
func TestPlatformArgs(t *testing.T) {
	const text = "ARG H=$TARGETARCH\nFROM --platform=$BUILDPLATFORM x AS tool-arm\nFROM tool-$H\nARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM\n"
	p := mustPlan(t, text, Options{Platform: "linux/arm"})
	s := p.Scope(nil, nil)
	got, err := s.Declare(p.Target.Commands[0].Command.(*instructions.ArgCommand))
	want := "ARG TARGETPLATFORM=linux/arm/v7 TARGETOS=linux TARGETARCH=arm TARGETVARIANT=v7 BUILDPLATFORM=" + platforms.Format(platforms.DefaultSpec())
	if err != nil || got != want {
		t.Errorf("%v: %s, want %s", err, got, want)
	}
}

func TestDeclareText(t *testing.T) {
	p := mustPlan(t, "ARG G=g\nFROM x\nARG A=1 B G C=$A\n", Options{})
	s := p.Scope(nil, nil)
	text, err := s.Declare(p.Target.Commands[0].Command.(*instructions.ArgCommand))
	if err != nil || text != "ARG A=1 B G=g C=1" {
		t.Errorf("text %q, %v", text, err)
	}
	if got, err := s.RunHistory([]string{"/bin/sh", "-c", "x"}); err != nil || got != "RUN |4 A=1 B= G=g C=1 /bin/sh -c x" {
		t.Errorf("history %q, want %q", got, err)
	}
}

func TestEveryFaultIsAFault(t *testing.T) {
	for _, text := range []string{"", "FROM", "FROM a b", "FROM x\nCOPY a\n", "FROM x\nCOPY --from=0 a b\n", "ARG A=${\nFROM x\n"} {
		_, err := newPlan([]byte(text), Options{})
		var f *Fault
		if !errors.As(err, &f) {
			t.Errorf("%q: error %v is no *Fault", text, err)
		}
	}
}

// TestNamedContexts: which context stands for which name.
func TestNamedContexts(t *testing.T) {
	host := platforms.Format(platforms.Normalize(platforms.DefaultSpec()))
	const sum = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	contexts := map[string]string{"golang": "", "golang:1.21": "", "ghcr.io/a/b" + sum: "", "scratch": "", "context": "", "both::" + host: "", "both": "", "other::linux/s390x": "", "Stage": ""}
	p := &Plan{opts: Options{Contexts: contexts}}
	for name, want := range map[string]string{
		"golang": "golang", "golang:latest": "golang", "library/golang": "golang", "docker.io/library/golang:latest": "golang", "index.docker.io/library/golang": "golang",
		"golang:1.21": "golang:1.21", "docker.io/golang:1.21": "golang:1.21", "golang:1.22": "", "quay.io/golang": "",
		"ghcr.io/a/b" + sum: "ghcr.io/a/b" + sum, "ghcr.io/a/b": "", "GOLANG": "golang", "stage": "Stage",
		"scratch": "", "SCRATCH": "", "context": "", "": "", "both": "both::" + host, "other": "", "-": "",
	} {
		if got, _ := p.contextOf(name, ""); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	for platform, want := range map[string]string{"linux/s390x": "other::linux/s390x", "s390x": "other::linux/s390x", "linux/arm": ""} {
		if got, _ := p.contextOf("other", platform); got != want {
			t.Errorf("for %s: %q, want %q", platform, got, want)
		}
	}
}

// TestPlanAgain: a file serves several plans, for expanding an instruction leaves it alone.
func TestPlanAgain(t *testing.T) {
	file, err := Parse([]byte("ARG B=x\nFROM $B\nENV A=$V\nRUN --mount=type=cache,target=/$V true\nCOPY --chown=$V $V <<E /$V\n$V\nE\n"), silent())
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"one", "two"} {
		p, err := file.Plan(Options{Args: map[string]string{"B": value}})
		if err != nil || p.Target.Image != value {
			t.Fatalf("%v, from %s", err, p.Target.Image)
		}
		scope := p.Scope(nil, []string{"V=" + value})
		var got []string
		for _, c := range p.Target.Commands {
			expanded, err := scope.Expand(c)
			if err != nil {
				t.Fatal(err)
			}
			switch ic := expanded.(type) {
			case *instructions.EnvCommand:
				got = append(got, ic.Env[0].Value)
			case *instructions.RunCommand:
				mounts, err := scope.Mounts(c)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, mounts[0].Target)
			case *instructions.CopyCommand:
				got = append(got, ic.Chown, ic.SourcePaths[0], ic.SourceContents[0].Data, ic.DestPath)
			}
		}
		if want := []string{value, "/" + value, value, value, value + "\n", "/" + value}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestPlanWithFaults: behind each fault that would end a build the plan goes on, for checks.
func TestPlanWithFaults(t *testing.T) {
	for _, text := range []string{
		"ARG X=${Y\nFROM a AS one\nRUN x\nFROM one\nRUN y\n",
		"FROM ${X AS one\nRUN x\nFROM one\nRUN y\n",
		"FROM $NONE AS one\nRUN x\nFROM one\nRUN y\n",
		"FROM --platform=a/b/c/d a AS one\nRUN x\nFROM one\nRUN y\n",
		"FROM --after=none a AS one\nRUN x\nFROM one\nRUN y\n",
		"FROM a AS one\nCOPY --from=7 a b\nRUN x\nFROM one\nRUN y\n",
		"FROM a AS one\nONBUILD nonsense\nONBUILD RUN x\nFROM one\nRUN y\n",
		"FROM a AS one\nRUN --network=host x\nFROM one\nRUN y\n",
	} {
		p, err := newPlan([]byte(text), Options{})
		var f *Fault
		if !errors.As(err, &f) {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if len(p.Stages) != 2 || p.Target != p.Stages[1] || p.Target.Base != p.Stages[0] || len(p.Target.Commands) == 0 ||
			p.Target.Commands[len(p.Target.Commands)-1].Source != "RUN y" || len(p.Stages[0].Commands)+len(p.Target.Commands) < 2 {
			t.Errorf("%q leaves %+v", text, p.Stages)
		}
	}
	p, err := newPlan([]byte("FROM a\n"), Options{Target: "none"})
	if err == nil || p.Target != nil || len(p.Stages) != 1 || len(p.Needed()) != 0 {
		t.Errorf("no target: %v, %+v", err, p)
	}
}
