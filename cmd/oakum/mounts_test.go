package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/mount"
)

func TestVolumes(t *testing.T) {
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir("d", 0o700), os.WriteFile("d/f", nil, 0o600), os.Symlink("d/f", "link")); err != nil {
		t.Fatal(err)
	}
	d := builder.Dir(filepath.Join(dir, "d"))
	for in, want := range map[string]builder.Mount{
		"./d:/x:ro":               {Target: "/x", From: d, ReadOnly: true},
		"./d:/x:Z,ro,rprivate":    {Target: "/x", From: d, ReadOnly: true},
		"./d/../d:/x:O":           {Target: "/x", From: d},
		dir + "/d:/x:rw,O":        {Target: "/x", From: d},
		"./d/f:/x/y:readonly":     {Target: "/x/y", From: d.Select("f"), ReadOnly: true},
		"./link:/x/y:ro":          {Target: "/x/y", From: d.Select("f"), ReadOnly: true},
		"./d:/x:ro,z,nosuid,bind": {Target: "/x", From: d, ReadOnly: true},
	} {
		if got, err := readVolume(in); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", in, got, err, want)
		}
	}
	const addOption = "add :ro to read the files only, or :O to let what is written be thrown away; --mount type=cache,target=DIR is a directory that is kept"
	for in, want := range map[string][2]string{
		"./d:/x":      {`--volume "./d:/x": ` + notWritten, addOption},
		"./d:/x:rw":   {`--volume "./d:/x:rw": ` + notWritten, addOption},
		"./d:/x:z":    {`--volume "./d:/x:z": ` + notWritten, addOption},
		"./d:/x:ro,O": {`--volume "./d:/x:ro,O": ro and O exclude each other`, ""},
		"./d:/x:U":    {`--volume "./d:/x:U": the option U is not supported: ` + volumeForms, ""},
		"./d:/x:r":    {`--volume "./d:/x:r": the option "r" is not known: ` + volumeForms, ""},
		"./d:x:ro":    {`--volume "./d:x:ro": the target "x" is not an absolute path`, ""},
		"/x":          {`--volume "/x" is not HOST-PATH:TARGET:OPTIONS`, "an empty directory is --mount type=tmpfs,target=/x"},
		"./d:/x:ro:y": {`--volume "./d:/x:ro:y" is not HOST-PATH:TARGET:OPTIONS`, "for example --volume ./data:/data:ro"},
		"data:/x":     {`--volume "data:/x": there are no volumes with a name`, "--mount type=cache,id=data,target=/x is a directory that is kept; a path begins with / or ."},
	} {
		_, err := readVolume(in)
		var usage *usageError
		if !errors.As(err, &usage) || usage.text != want[0] || usage.hint != want[1] {
			t.Errorf("%s: %#v, want %q", in, err, want)
		}
	}
	for in, says := range map[string]string{"./none:/x:ro": "no such file", "/dev/null:/x:ro": "neither a file nor a directory"} {
		if _, err := readVolume(in); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestRunMounts(t *testing.T) {
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", "agent")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	t.Setenv("SSH_AUTH_SOCK", "agent")
	if err := os.WriteFile("token", []byte("t0ken"), 0o600); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string][]builder.Mount{
		"--mount type=bind,src=.,dst=/x":                {{Target: "/x", From: builder.Dir(dir), ReadOnly: true}},
		"--mount source=token,target=/x,rw":             {{Target: "/x", From: builder.Dir(dir).Select("token")}},
		"--mount type=bind,source=.,target=/x,readonly": {{Target: "/x", From: builder.Dir(dir), ReadOnly: true}},
		"--mount from=alpine,source=/etc/apk,target=/x": {{Target: "/x", From: builder.ImageFiles("alpine").Select("etc/apk"), ReadOnly: true}},
		"--mount from=alpine,source=a*[b]?,target=/x":   {{Target: "/x", From: builder.ImageFiles("alpine").Select(`a\*\[b]\?`), ReadOnly: true}},
		"--mount from=alpine,source=/../,target=/x":     {{Target: "/x", From: builder.ImageFiles("alpine"), ReadOnly: true}},
		"--mount type=cache,target=/c":                  {{Target: "/c", Cache: &mount.Cache{ID: "/c", Path: "."}}},
		"--mount type=cache,target=/c,source=a":         {{Target: "/c", Cache: &mount.Cache{ID: "/c", Path: "a"}}},
		"--mount type=cache,id=a/b,target=/c,sharing=locked,mode=1770,uid=3,gid=4,ro": {{Target: "/c", ReadOnly: true, Cache: &mount.Cache{
			ID: "a/b", Path: ".", Sharing: mount.Locked, Mode: 0o770 | fs.ModeSticky, UID: 3, GID: 4}}},
		"--mount type=cache,target=/c,from=alpine":               {{Target: "/c", From: builder.ImageFiles("alpine"), Cache: &mount.Cache{ID: "/c"}}},
		"--mount type=tmpfs,destination=/t,tmpfs-size=1m,mode=7": {{Target: "/t", Tmpfs: &mount.Tmpfs{Size: 1 << 20, Mode: 7}}},
		"--tmpfs /t --tmpfs /u:rw,size=64k,mode=1777":            {{Target: "/t", Tmpfs: &mount.Tmpfs{}}, {Target: "/u", Tmpfs: &mount.Tmpfs{Size: 64 << 10, Mode: 0o777 | fs.ModeSticky}}},
		"--mount type=secret,id=none --mount type=ssh,id=none":   nil,
		"--mount type=bind,source=token,target=y":                {{Target: "y", From: builder.Dir(dir).Select("token"), ReadOnly: true}},
		"--ssh default": {{SSH: &mount.SSH{Socket: "agent"}}},
		"--ssh a=token --mount type=ssh,id=a,target=/s,mode=0666,required": {{Target: "/s", SSH: &mount.SSH{ID: "a", Keys: []string{"token"}, Mode: 0o666}}},
	} {
		got, err := withFlags(t, readRunMounts, append(append([]string{"run"}, strings.Fields(in)...), "x")...)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", in, got, err, want)
		}
	}
	for in, want := range map[string][]builder.Mount{
		"--secret id=token": {{Target: "/run/secrets/token", Secret: &mount.Secret{}}},
		"--secret id=a,src=token --mount type=secret,id=a,target=/s,mode=0444": {{Target: "/s", Secret: &mount.Secret{ID: "a", Mode: 0o444}}},
		"--secret id=a,src=token --mount type=secret,id=a,env=A,required":      {{Secret: &mount.Secret{ID: "a", Env: "A"}}},
		"--secret id=a,src=token --mount type=secret,target=/s/a,uid=7,gid=8":  {{Target: "/s/a", Secret: &mount.Secret{ID: "a", UID: 7, GID: 8}}},
	} {
		got, err := withFlags(t, readRunMounts, append(append([]string{"run"}, strings.Fields(in)...), "x")...)
		if err != nil || len(got) != 1 {
			t.Errorf("%s: %+v, %v", in, got, err)
			continue
		}
		if text, err := got[0].Secret.Read(t.Context()); string(text) != "t0ken" || err != nil {
			t.Errorf("%s: %q, %v", in, text, err)
		}
		if got[0].Secret.Read = nil; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", in, got, want)
		}
	}
}

// TestRunMountFaults: an error names the flag, in the words of package dockerfile.
func TestRunMountFaults(t *testing.T) {
	for in, want := range map[string][2]string{
		"type=cahce,target=/x":         {`the type "cahce" is not known: it is bind, cache, tmpfs, secret, ssh`, "did you mean cache?"},
		"type=cache,taget=/x":          {`the key "taget" is not known`, "did you mean target?"},
		"type=tmpfs,target=/x,size=mb": {"size=mb: it is a number of bytes, with k, m or g behind it for more", ""},
	} {
		for _, words := range [][]string{{"run", "--mount", in, "x"}, {"build", "--mount", in, "."}} {
			_, err := withFlags(t, func(c *cli.Context) (any, error) {
				if words[0] == "run" {
					return readRunMounts(c)
				}
				return readBuildRun(c)
			}, words...)
			var usage *usageError
			if !errors.As(err, &usage) || usage.text != "--mount="+in+": "+want[0] || usage.hint != want[1] {
				t.Errorf("%s: %#v, want %q", in, err, want)
			}
		}
	}
	for in, says := range map[string]string{
		"--mount type=bind,source=none,target=/x": "--mount=type=bind,source=none,target=/x: lstat none: no such file or directory",
		"--mount type=bind,target=/x":             "there is no build context: give source=PATH, or from=IMAGE",
		"--mount type=bind,src=/dev/null,dst=/x":  "/dev/null is neither a file nor a directory",
		"--mount type=secret,id=a,required":       "secret a: no such secret, and it is required",
		"--mount type=ssh,required=true":          "there is no ssh agent default, and it is required",
		"--tmpfs x":                               `--tmpfs "x" is not PATH[:OPTIONS] with an absolute path`,
		"--tmpfs /x:noexec":                       `--tmpfs "/x:noexec": "noexec" is none of size=SIZE and mode=MODE`,
		"--tmpfs /x:size=big":                     `--tmpfs "/x:size=big": size is a number`,
	} {
		_, err := withFlags(t, readRunMounts, append(append([]string{"run"}, strings.Fields(in)...), "x")...)
		if exitCode(t.Context(), err) != exitUsage || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", in, err)
		}
	}
	if _, err := withFlags(t, readBuildRun, "build", "--mount", "type=$T,target=$X/y"); err != nil {
		t.Errorf("variables, which each RUN knows: %v", err)
	}
}

// FuzzRunMounts gives any texts to --mount, --volume and --tmpfs. What is read has exactly one
// kind, and a target but for secrets and agents; what is not read is an error of the command line.
func FuzzRunMounts(f *testing.F) {
	for _, seed := range [][2]string{
		{"mount", "type=cache,target=/c,mode=0700"}, {"mount", `"type=tmpfs",target=/x,size=1g`}, {"mount", "type=secret,id=a,required"},
		{"volume", ".:/x:ro"}, {"volume", "::"}, {"tmpfs", "/x:size=1,mode=1"}, {"mount", "from=a,source=../..,target=/x"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, flag, value string) {
		if flag != "mount" && flag != "volume" && flag != "tmpfs" {
			return
		}
		got, err := withFlags(t, readRunMounts, "run", "--"+flag+"="+value, "x")
		if err != nil && exitCode(t.Context(), err) != exitUsage && flag != "volume" { // of which the file may be missing
			t.Errorf("--%s=%q: %v", flag, value, err)
		}
		for _, m := range got {
			kinds := 0
			for _, is := range []bool{m.Cache != nil, m.Tmpfs != nil, m.Secret != nil, m.SSH != nil, m.Cache == nil && !reflect.DeepEqual(m.From, builder.Source{})} {
				if is {
					kinds++
				}
			}
			if kinds != 1 || m.Target == "" && m.Secret == nil && m.SSH == nil {
				t.Errorf("--%s=%q: %+v", flag, value, m)
			}
		}
	})
}
