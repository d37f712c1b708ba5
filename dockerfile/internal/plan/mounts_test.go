package plan

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/dockerfile/internal/runflags"
)

// TestMounts checks what the words of RUN --mount mean.
func TestMounts(t *testing.T) {
	tests := []struct {
		name, text string
		want       runflags.Mount
	}{
		{"a bind of the context", "target=/c", runflags.Mount{Type: runflags.Bind, Target: "/c", ReadOnly: true}},
		{"by its type", "type=bind,dst=/c/,src=/a/b", runflags.Mount{Type: runflags.Bind, Target: "/c", Source: "/a/b", ReadOnly: true}},
		{"to write", "destination=/c,source=./a/../b,rw", runflags.Mount{Type: runflags.Bind, Target: "/c", Source: "./a/../b"}},
		{"to write, at length", "target=/c,readwrite=true", runflags.Mount{Type: runflags.Bind, Target: "/c"}},
		{"not to write", "target=/c,rw=false", runflags.Mount{Type: runflags.Bind, Target: "/c", ReadOnly: true}},
		{"not read-only", "target=/c,ro=0", runflags.Mount{Type: runflags.Bind, Target: "/c"}},
		{"relative", "target=a/../b", runflags.Mount{Type: runflags.Bind, Target: "b", ReadOnly: true}},
		{"the working directory", "type=bind", runflags.Mount{Type: runflags.Bind, Target: ".", ReadOnly: true}},
		{"any case", "TYPE=Bind,Target=/C", runflags.Mount{Type: runflags.Bind, Target: "/C", ReadOnly: true}},
		{"quoted", `'"target=/a,b",ro'`, runflags.Mount{Type: runflags.Bind, Target: "/a,b", ReadOnly: true}},
		{"what Buildah adds", "target=/c,z,bind-propagation=rprivate,U=false,nosuid,nodev,noexec=false,bind-nonrecursive=true,no-dereference=false", runflags.Mount{Type: runflags.Bind, Target: "/c", ReadOnly: true}},
		{"and by other names", "target=/c,relabel=shared,chown=0,bind-propagation=private,consistency=cached", runflags.Mount{Type: runflags.Bind, Target: "/c", ReadOnly: true}},
		{"a cache", "type=cache,target=/root/.cache/", runflags.Mount{Type: runflags.Cache, Target: "/root/.cache", ID: "/root/.cache"}},
		{"with all", "type=cache,id=a/b,target=c,ro,sharing=LOCKED,mode=0700,uid=1,gid=2", runflags.Mount{Type: runflags.Cache, Target: "c", ID: "a/b", ReadOnly: true, Sharing: mount.Locked, Mode: 0o700, UID: 1, GID: 2}},
		{"private", "type=cache,target=c,sharing=private", runflags.Mount{Type: runflags.Cache, Target: "c", ID: "c", Sharing: mount.Private}},
		{"shared, whatever the order of the keys", "sharing=shared,target=c,type=cache", runflags.Mount{Type: runflags.Cache, Target: "c", ID: "c"}},
		{"a part of it", "type=cache,target=/c,source=/sub", runflags.Mount{Type: runflags.Cache, Target: "/c", ID: "/c", Source: "/sub"}},
		{"a file system in memory", "type=tmpfs,target=/t,size=64m", runflags.Mount{Type: runflags.Tmpfs, Target: "/t", Size: 64 << 20}},
		{"in Buildah's words", "type=tmpfs,target=/t,tmpfs-size=1024,tmpfs-mode=1770,notmpcopyup", runflags.Mount{Type: runflags.Tmpfs, Target: "/t", Size: 1024, Mode: 0o770 | fs.ModeSticky}},
		{"a secret", "type=secret,id=s", runflags.Mount{Type: runflags.Secret, ID: "s", Target: "/run/secrets/s"}},
		{"of a name with slashes", "type=secret,id=a/s", runflags.Mount{Type: runflags.Secret, ID: "a/s", Target: "/run/secrets/s"}},
		{"by its source", "type=secret,source=s,target=/t", runflags.Mount{Type: runflags.Secret, ID: "s", Target: "/t"}},
		{"by its target", "type=secret,target=/a/s", runflags.Mount{Type: runflags.Secret, ID: "s", Target: "/a/s"}},
		{"as a variable", "type=secret,id=s,env=S", runflags.Mount{Type: runflags.Secret, ID: "s", Env: "S"}},
		{"as both", "type=secret,id=s,env=S,target=/s,required,mode=0444,uid=1,gid=1", runflags.Mount{Type: runflags.Secret, ID: "s", Env: "S", Target: "/s", Required: true, Mode: 0o444, UID: 1, GID: 1}},
		{"before its type", "required=true,id=s,type=secret", runflags.Mount{Type: runflags.Secret, ID: "s", Target: "/run/secrets/s", Required: true}},
		{"an agent", "type=ssh", runflags.Mount{Type: runflags.SSH, ID: "default"}},
		{"with all of it", "type=ssh,id=k,required=1,target=/a,mode=666,uid=1,gid=1", runflags.Mount{Type: runflags.SSH, ID: "k", Target: "/a", Required: true, Mode: 0o666, UID: 1, GID: 1}},
		{"variables", "type=$T,id=${N}-x,target=/$D/x,sharing=${S:-locked},uid=$U,gid=${U}0", runflags.Mount{Type: runflags.Cache, ID: "n-x", Target: "/d/x", Sharing: mount.Locked, UID: 7, GID: 70}},
		{"a variable with a comma", "target=/$C", runflags.Mount{Type: runflags.Bind, Target: "/a,ro=x", ReadOnly: true}},
		{"a dollar that is none", `target=/\\$D`, runflags.Mount{Type: runflags.Bind, Target: "/$D", ReadOnly: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := mustPlan(t, "FROM x\nARG T=cache N=n D=d U=7 C=a,ro=x\nRUN --mount="+tt.text+" a\n", Options{})
			scope := p.Scope(nil, nil)
			scope.learn(p.Target.Commands[0].Command)
			got, err := scope.Mounts(p.Target.Commands[1])
			if err != nil {
				t.Fatal(err)
			}
			if early := p.Target.Commands[1].Mounts; strings.Contains(tt.text, "${S") {
				if !early[0].Partial || early[0].ID != "n-x" { // the base may set S
					t.Errorf("early %+v", early)
				}
			} else if early[0] != tt.want {
				t.Errorf("early %+v\nwant  %+v", early, tt.want)
			}
			if len(got) != 1 || got[0] != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// TestMountFaults checks what is refused before anything is built.
func TestMountFaults(t *testing.T) {
	tests := []struct{ mount, says, hint string }{
		{"target=/c,propagate=1", `RUN --mount=target=/c,propagate=1: the key "propagate" is not known`, "the keys are type, target, source"},
		{"type=cache,taget=/c", `the key "taget"`, "did you mean target?"},
		{"type=cash,target=/c", `the type "cash" is not known: it is bind, cache, tmpfs, secret, ssh`, ""},
		{"type=volume,target=/c", `the type "volume"`, ""},
		{"type=cache,target", "target needs a value: target=VALUE", ""},
		{`'target="/a b"'`, "it is not a list of KEY=VALUE", "quoted"},
		{"", "it is not a list of KEY=VALUE", ""},
		{"target=/c,dst=/d", "target is given twice", ""},
		{"target=/c,id=x", "id has no meaning for type=bind", ""},
		{"type=tmpfs,target=/c,from=x", "from has no meaning for type=tmpfs", ""},
		{"type=secret,id=x,from=y", "from has no meaning for type=secret", ""},
		{"type=ssh,src=y", "src has no meaning for type=ssh", ""},
		{"target=/c,sharing=locked", "sharing has no meaning for type=bind", ""},
		{"target=/c,required", "required has no meaning for type=bind", ""},
		{"target=/c,mode=0755", "mode has no meaning for type=bind", ""},
		{"type=cache,target=/c,sharing=lock", "sharing=lock: it is shared, locked or private", ""},
		{"type=cache,target=/c,mode=0799", "mode=0799: it is not an octal mode", ""},
		{"type=cache,target=/c,mode=10000", "mode=10000: it is not", ""},
		{"type=cache,target=/c,uid=root", "uid=root: invalid syntax", ""},
		{"type=cache,target=/c,gid=4294967295", "gid=4294967295: value out of range", ""},
		{"type=cache,target=/c,ro=maybe", "ro=maybe: invalid syntax", ""},
		{"type=cache,target=/c,id=../../x", "id=../../x: an id is a name", ""},
		{"type=cache,target=/c,source=../a", "source=../a: it leads out", ""},
		{"type=cache,target=/c,source=..,from=one", "source=..: it leads out", ""},
		{"target=/c,source=a/../../b", "it leads out of the files that are mounted", ""},
		{"type=tmpfs,target=/c,size=big", "size=big: it is a number of bytes", ""},
		{"type=tmpfs,target=/c,tmpfs-size=-1", "tmpfs-size=-1: it is a number", ""},
		{"type=tmpfs,target=/c,tmpcopyup", "tmpcopyup=true: this is not possible here", ""},
		{"type=secret", "it names no secret", ""},
		{"type=secret,id=a,source=b", "both name the secret", ""},
		{"type=secret,id=a/..,target=/x", "an id is a name", ""},
		{"type=secret,id=/", "give target=PATH", ""},
		{"type=secret,id=a,env=", "env=: it is the name of a variable", ""},
		{"type=secret,id=a,env=A=B", "env=A=B: it is the name of a variable", ""},
		{"target=/c,bind-propagation=suid", "bind-propagation=suid: nothing that is mounted later is passed on", ""},
		{"type=cache,target=/c,rw,bind-propagation=shared", "bind-propagation=shared", ""},
		{"target=/c,noexec", "noexec=true: this is not possible here", ""},
		{"target=/c,U", "U=true: this is not possible here: files keep their owner", ""},
		{"target=/c,no-dereference", "links are followed", ""},
		{"target=/", "nothing can be mounted over /;", ""},
		{"type=tmpfs,target=/a/..", "nothing can be mounted over /;", ""},
		{"type=cache,target=/proc", "nothing can be mounted over /proc, for /proc shows the machine", ""},
		{"type=tmpfs,target=//sys/kernel", "over /sys/kernel, for /sys", ""},
		{"type=secret,id=a,target=/dev/a", "over /dev/a, for /dev", ""},
		{"type=cache,target=/$D", "over /proc/x", ""},
		{"target=/c,source=$UP", "it leads out", ""},
		{"target=/c --mount=type=tmpfs,target=/c/.", "two mounts have the target /c", ""},
		{"target=c --mount=type=tmpfs,target=./c", "two mounts have the target c", ""},
		{"type=secret,id=a/x --mount=type=secret,id=x", "two mounts have the target /run/secrets/x", ""},
		{"target=/c,from=two", "RUN --mount from=two: the stage is defined after this one, in line 6", ""},
		{"target=/c,from=1", "RUN --mount from=1: the stage refers to itself", ""},
		{"target=/c,from=9", "there is no stage 9", ""},
		{"target=/c,from=$NONE", "no ARG or ENV above sets NONE", ""},
		{"target=/c,from=$EMPTY", "the name is blank", ""},
		{"target=/${X?no}", "", ""}, // the base may set X
	}
	for _, tt := range tests {
		t.Run(tt.mount, func(t *testing.T) {
			text := "FROM x AS one\nFROM y\nENV D=proc/x UP=../x EMPTY=\nARG X\nRUN --mount=" + tt.mount + " a\nFROM z AS two\n"
			_, err := newPlan([]byte(text), Options{Target: "1"})
			var f *Fault
			switch {
			case tt.says == "" && err == nil:
			case !errors.As(err, &f) || f.Line != 5 || !strings.Contains(f.Error(), tt.says) || !strings.Contains(f.Hint, tt.hint):
				t.Errorf("%v, %+v", err, f)
			}
			if _, err := newPlan([]byte(text), Options{Target: "two"}); err != nil {
				t.Errorf("in a stage that is not built: %v", err)
			}
		})
	}
}

// TestMountsFrom checks which stages the mounts of a RUN need.
func TestMountsFrom(t *testing.T) {
	text := `ARG H=one
FROM x AS one
FROM y AS two
FROM z AS unused
FROM w
ENV S=two
ONBUILD RUN --mount=from=one,target=/o --mount=from=$S,target=/s b
RUN --mount=from=$H,target=/a --mount=target=/b --mount=type=cache,target=/c,from=1 --mount=from=busybox,target=/d a
FROM 3
`
	p := mustPlan(t, text, Options{Contexts: map[string]string{"ctx": ""}, Mounts: []string{"from=ctx,target=/e"}})
	if got := names(p.Needed()); got != "one two 3 4" {
		t.Errorf("needed: %s", got)
	}
	from := func(c Command) (list []string) {
		for _, s := range c.From {
			list = append(list, s.Name+s.Context)
		}
		return list
	}
	if got, want := from(p.Stages[3].Commands[2]), []string{"ctxctx", "one", "two", "busybox"}; !slices.Equal(got, want) {
		t.Errorf("from %q, want %q", got, want)
	}
	if got, want := from(p.Target.Commands[0]), []string{"ctxctx", "one", "two"}; !slices.Equal(got, want) {
		t.Errorf("the trigger is from %q, want %q", got, want)
	}
	mounts, err := p.Scope(nil, nil).Mounts(p.Stages[3].Commands[2])
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range mounts {
		if got = append(got, m.Target); !m.HasFrom {
			got = append(got, "-")
		}
	}
	if want := []string{"/e", "/a", "/b", "-", "/c", "/d"}; !slices.Equal(got, want) {
		t.Errorf("mounts %q, want %q", got, want)
	}
	triggers, err := p.Triggers(p.Stages[0], []string{"RUN --mount=from=busybox,target=/x x", "RUN --mount=from=none,taget=/x x"})
	if err == nil || len(triggers) != 2 || triggers[0].From[1].Image != "busybox" {
		t.Errorf("triggers %+v, %v", triggers, err)
	}
}

// TestMountsWithoutContext: a bind needs files.
func TestMountsWithoutContext(t *testing.T) {
	for text, bad := range map[string]bool{
		"target=/c": true, "type=bind,target=/c,source=a": true, "type=cache,target=/c": false, "target=/c,from=x": false, "type=$T,target=/c": false,
	} {
		_, err := newPlan([]byte("FROM x\nRUN --mount="+text+" a\n"), Options{NoContext: true})
		if bad != (err != nil && strings.Contains(err.Error(), "no build context to mount")) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestCacheNamespace: a namespace is part of each cache's id.
func TestCacheNamespace(t *testing.T) {
	p := mustPlan(t, "FROM x\nRUN --mount=type=cache,target=/c --mount=type=cache,target=/d,id=i a\n", Options{Args: map[string]string{cacheNamespaceArg: "team"}})
	if m := p.Target.Commands[0].Mounts; m[0].ID != "team//c" || m[1].ID != "team/i" {
		t.Errorf("%+v", m)
	}
}
