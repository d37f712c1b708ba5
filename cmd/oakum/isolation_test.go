package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder/isolation"
)

// withFlags types a command line, and has do read its flags in place of the command.
func withFlags[T any](t testing.TB, do func(*cli.Context) (T, error), words ...string) (got T, err error) {
	t.Helper()
	app := testApp()
	line, _, err := arrange(app, words)
	if err != nil {
		return got, err
	}
	app.Command(words[0]).Action = func(c *cli.Context) error {
		got, err = do(c)
		return err
	}
	return got, app.RunContext(t.Context(), append([]string{app.Name}, line...))
}

func TestIsolationFlags(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv(isolationVariable, "")
	for name, text := range map[string]string{"filter.json": `{"defaultAction": "SCMP_ACT_ALLOW"}`, "empty.json": "", "large.json": strings.Repeat(" ", 1<<20)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	type options = isolation.Options
	network := func(n isolation.Network) options { return options{Network: n} }
	security := func(s isolation.Security) options { return options{Security: s} }
	limited := func(l isolation.Limits) options { return options{Limits: l} }
	for in, want := range map[string]options{
		"":                     {},
		"--isolation thread":   {Sandbox: isolation.Thread},
		"--isolation=oci":      {Sandbox: isolation.OCI},
		"--isolation=rootless": {}, "--isolation=chroot": {}, "--isolation=": {},

		"--network=default": {}, "--network=": {},
		"--network=none":        network(isolation.Network{Mode: isolation.None}),
		"--net host":            network(isolation.Network{Mode: isolation.Host}),
		"--network private":     network(isolation.Network{Mode: isolation.Private}),
		"--network bridge":      network(isolation.Network{Mode: isolation.Private}),
		"--network pasta":       network(isolation.Network{Mode: isolation.Private}),
		"--network slirp4netns": network(isolation.Network{Mode: isolation.Private}),
		"--add-host a:192.0.2.1 --add-host=b=2001:DB8:0::1": network(isolation.Network{Hosts: []string{"a:192.0.2.1", "b:2001:db8::1"}}),
		"--add-host a:[::1],b:host-gateway":                 network(isolation.Network{Hosts: []string{"a:::1", "b:host-gateway"}}),
		"--add-host a;b.example:::1":                        network(isolation.Network{Hosts: []string{"a:::1", "b.example:::1"}}),
		"--no-hosts":                                        network(isolation.Network{NoHosts: true}),
		"--dns 192.0.2.1 --dns ::1 --dns-opt ndots:2 --dns-option=rotate --dns-search . --dns-search=": network(isolation.Network{
			DNS: []string{"192.0.2.1", "::1"}, Options: []string{"ndots:2", "rotate"}, Search: []string{"."}}),
		"--hostname db": network(isolation.Network{Hostname: "db"}),

		"--cap-add=net_admin,CAP_SYS_TIME --cap-drop ALL":                           security(isolation.Security{Add: []string{"net_admin", "CAP_SYS_TIME"}, Drop: []string{"ALL"}}),
		"--security-opt seccomp=filter.json":                                        security(isolation.Security{Seccomp: `{"defaultAction": "SCMP_ACT_ALLOW"}`}),
		"--security-opt seccomp:unconfined":                                         security(isolation.Security{Seccomp: isolation.Unconfined}),
		"--security-opt seccomp=builtin":                                            {},
		"--security-opt no-new-privileges":                                          security(isolation.Security{NoNewPrivileges: true}),
		"--security-opt no-new-privileges:true":                                     security(isolation.Security{NoNewPrivileges: true}),
		"--security-opt no-new-privileges=false":                                    {},
		"--security-opt mask=/a:/b --security-opt unmask=ALL":                       security(isolation.Security{Mask: []string{"/a", "/b"}, Unmask: []string{"ALL"}}),
		"--security-opt systempaths=unconfined":                                     security(isolation.Security{Unmask: []string{"ALL"}}),
		"--security-opt label=disable --security-opt label:level:s0:c1":             security(isolation.Security{Label: []string{"level:s0:c1"}}),
		"--security-opt apparmor=unconfined":                                        {},
		"--security-opt apparmor=docker-default":                                    security(isolation.Security{AppArmor: "docker-default"}),
		"--device /dev/zero --device=/dev/null:/dev/mine:rwm --device /dev/full:rw": {Devices: []string{"/dev/zero", "/dev/null:/dev/mine:rwm", "/dev/full:rw"}},
		"--group-add audio --group-add 7,8":                                         {Groups: []string{"audio", "7", "8"}},

		"--ulimit nofile=1024:2048 --ulimit CORE=-1 --ulimit host --ulimit nproc=unlimited": limited(isolation.Limits{Ulimits: []isolation.Ulimit{
			{Name: "nofile", Soft: 1024, Hard: 2048}, {Name: "core", Soft: -1, Hard: -1}, {Name: "nproc", Soft: -1, Hard: -1}}}),
		"--shm-size 1g": limited(isolation.Limits{ShmSize: 1 << 30}), "--shm-size=": {},
		"-m2g --memory-swap=-1":            limited(isolation.Limits{Memory: 2 << 30, MemorySwap: -1}),
		"--memory 512mb --memory-swap 1GB": limited(isolation.Limits{Memory: 512 << 20, MemorySwap: 1 << 30}),
		"--memory=0":                       {}, "--memory=-1": {}, "--cpu-quota=-1 -c 0 --memory-swap=-1": {},
		"-c 512 --cpu-period 50000 --cpu-quota 25000":    limited(isolation.Limits{CPUShares: 512, CPUPeriod: 50000, CPUQuota: 25000}),
		"--cpus 1.5 --cpuset-cpus 0-3,5 --cpuset-mems 0": limited(isolation.Limits{CPUPeriod: 100000, CPUQuota: 150000, CPUs: "0-3,5", Memories: "0"}),
		"--cgroup-parent /a/b":                           limited(isolation.Limits{CgroupParent: "/a/b"}),
	} {
		for _, command := range []string{"build", "run"} {
			words := append([]string{command}, strings.Fields(in)...)
			if got, err := withFlags(t, readIsolation, append(words, "x")...); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s %s: %+v, %v, want %+v", command, in, got, err, want)
			}
		}
	}
}

// TestChoice: what is said of isolation says how far commands must and may be kept apart, and buildah's variable
// says nothing of that.
func TestChoice(t *testing.T) {
	t.Setenv(isolationVariable, "chroot")
	for in, want := range map[string]isolation.Choice{
		"": {}, "--isolation=": {}, "--isolation=default": {}, "--isolation=rootless": {},
		"--isolation=chroot": {Most: isolation.Chroot}, "--isolation CHROOT": {Most: isolation.Chroot},
		"--isolation=thread": {Least: isolation.Reduced}, "--isolation=oci": {Least: isolation.Reduced},
	} {
		for _, command := range []string{"build", "run"} {
			words := append([]string{command}, strings.Fields(in)...)
			if got, err := withFlags(t, readChoice, append(words, "x")...); err != nil || got != want {
				t.Errorf("%s %s: %+v, %v, want %+v", command, in, got, err, want)
			}
		}
	}
}

// TestIsolationFaults types values that cannot be: the error names the flag and the value, and
// is one of the command line.
func TestIsolationFaults(t *testing.T) {
	t.Setenv(isolationVariable, "")
	for in, want := range map[string]struct{ text, hint string }{
		"--isolation hyperv":                     {`--isolation "hyperv" is not known: it is thread, oci or chroot; buildah's rootless is the default`, ""},
		"--network ns:/run/netns/a":              {`--network "ns:/run/netns/a": the network of another process or container is not entered`, "start oakum in it: nsenter --net=/run/netns/a oakum ... --network=host"},
		"--network container:a":                  {`--network "container:a": the network of another process or container is not entered`, ""},
		"--network pasta:--map-gw":               {`--network "pasta:--map-gw": pasta has no options here`, "--network=pasta alone works"},
		"--network hots":                         {`--network "hots" is not known: it is default, private, host or none`, "did you mean host?"},
		"--network my-net":                       {`--network "my-net" is not known: it is default, private, host or none`, ""},
		"--add-host a":                           {`--add-host "a" is not NAME:ADDRESS`, "for example --add-host db:192.0.2.7, db:[2001:db8::7] or db:host-gateway"},
		"--add-host a:b":                         {`--add-host "a:b" is not NAME:ADDRESS`, "for example --add-host db:192.0.2.7, db:[2001:db8::7] or db:host-gateway"},
		"--add-host 192.0.2.1:a":                 {`--add-host "192.0.2.1:a" is not NAME:ADDRESS`, "the name stands first: --add-host a:192.0.2.1"},
		"--add-host a:fe80::1%eth0":              {`--add-host "a:fe80::1%eth0" is not NAME:ADDRESS`, "for example --add-host db:192.0.2.7, db:[2001:db8::7] or db:host-gateway"},
		"--add-host :192.0.2.1":                  {`--add-host ":192.0.2.1": "" is not a host's name`, ""},
		"--add-host a:::1 --no-hosts":            {"--no-hosts and --add-host exclude each other", ""},
		"--dns none":                             {`--dns "none" is not the address of a name server`, "for example --dns 192.0.2.53"},
		"--hostname a/\x01":                      {"--hostname \"a/\\x01\" is not a machine's name: up to 64 letters, digits, dots and hyphens", ""},
		"--security-opt seccmp=x":                {`--security-opt "seccmp=x" is not known: it is ` + securityForms, "did you mean seccomp?"},
		"--security-opt seccomp":                 {`--security-opt "seccomp" is not known: it is ` + securityForms, ""},
		"--security-opt mask=proc":               {`--security-opt "mask=proc": "proc" cannot be masked: it is no absolute path of a file or directory`, ""},
		"--security-opt mask=/":                  {`--security-opt "mask=/": "/" cannot be masked: it is no absolute path of a file or directory`, ""},
		"--security-opt no-new-privileges=maybe": {`--security-opt "no-new-privileges=maybe": no-new-privileges is true or false`, ""},
		"--device vendor.com/class=gpu":          {`--device "vendor.com/class=gpu": names of the Container Device Interface are not known here: give the path of the device's node`, ""},
		"--device fuse":                          {`--device "fuse": it is not PATH[:PATH-IN-THE-COMMAND[:rwm]] with absolute paths`, ""},
		"--device /dev/fuse:/dev/fuse:x":         {`--device "/dev/fuse:/dev/fuse:x": it is not PATH[:PATH-IN-THE-COMMAND[:rwm]] with absolute paths`, ""},
		"--cap-add net_admni":                    {`--cap-add: there is no capability "net_admni"; capabilities(7) lists them`, "did you mean NET_ADMIN?"},
		"--cap-drop x":                           {`--cap-drop: there is no capability "x"; capabilities(7) lists them`, ""},
		"--cap-drop all --cap-add all":           {"--cap-add, --cap-drop: all capabilities are both added and dropped", ""},
		"--ulimit nofile=1 --ulimit nofile=2":    {`--ulimit "nofile=2": the limit nofile is given twice`, ""},
		"--security-opt label=x:y":               {`--security-opt "label=x:y": there is no label option "x:y", only disable, user:, role:, type: and level: with a value`, ""},
		"--group-add keep-groups":                {`--group-add "keep-groups": group keep-groups: in a user namespace no group of the machine's user can be kept: name groups of the image`, ""},
		"--ulimit nofiel=1":                      {`--ulimit "nofiel=1": there is no limit "nofiel"; there are ` + strings.Join(ulimits, ", "), "did you mean nofile?"},
		"--ulimit nofile":                        {`--ulimit "nofile" is not NAME=SOFT[:HARD] with numbers, of which -1 is no limit`, "for example --ulimit nofile=1024:4096"},
		"--ulimit nofile=2:1":                    {`--ulimit "nofile=2:1": the soft limit nofile is above the hard one`, ""},
		"--ulimit nofile=-2":                     {`--ulimit "nofile=-2": the limit nofile is less than nothing: -1 is no limit`, ""},
		"--shm-size=-1":                          {`--shm-size "-1": the size of /dev/shm is a number of bytes`, ""},
		"--memory much":                          {`--memory "much" is not a size: a number with b, k, m or g behind it`, "for example --memory 512m"},
		"--memory 99999999999999999g":            {`--memory "99999999999999999g" is not a size: a number with b, k, m or g behind it`, "for example --memory 512m"},
		"--memory-swap 1g":                       {`--memory-swap "1g": a limit of memory and swap needs one of memory`, ""},
		"-m 2g --memory-swap 1g":                 {`--memory-swap "1g": a limit of memory and swap is -1, or at least that of memory`, ""},
		"--cpu-shares 1":                         {`--cpu-shares "1": a weight of processor time is from 2 to 262144`, ""},
		"--cpu-quota 5":                          {`--cpu-quota "5": a quota of processor time is -1, or at least 1000 microseconds`, ""},
		"--cpus NaN":                             {`--cpus "NaN" is not a number of processors from 0.01 on`, "for example --cpus 1.5"},
		"--cpus 2 --cpu-quota 5000":              {"--cpus excludes --cpu-period and --cpu-quota, which say the same", ""},
		"--cpuset-cpus 3-0":                      {`--cpuset-cpus "3-0": processors are a list like 0-3,5`, ""},
	} {
		_, err := withFlags(t, readIsolation, append(append([]string{"run"}, strings.Fields(in)...), "x")...)
		var usage *usageError
		if !errors.As(err, &usage) || usage.text != want.text || usage.hint != want.hint {
			t.Errorf("%s: %#v, want %q, %q", in, err, want.text, want.hint)
		}
	}
}

// TestUlimitNames compares the names that an error lists with those that there are.
func TestUlimitNames(t *testing.T) {
	for _, name := range ulimits {
		if (isolation.Ulimit{Name: name}).Number() < 0 {
			t.Errorf("there is no limit %s", name)
		}
	}
	if len(ulimits) != 16 { // setrlimit(2)
		t.Errorf("%d limits", len(ulimits))
	}
}

// TestSeccompFile reads files that are no filter.
func TestSeccompFile(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{"empty": 0, "large": 1 << 20, "no-filter": 5} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, says := range map[string]string{"empty": "the file is empty", "large": "is larger than", "none": "no such file", "no-filter": "seccomp profile: "} {
		_, err := withFlags(t, readIsolation, "build", "--security-opt", "seccomp="+filepath.Join(dir, name))
		if err == nil || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), "--security-opt ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIsolationVariable(t *testing.T) {
	for value, want := range map[string]isolation.Sandbox{"oci": "", "chroot": "", "rootless": "", "thread": isolation.Thread, "hyperv": "error"} {
		t.Setenv(isolationVariable, value)
		got, err := withFlags(t, readSandbox, "build", ".")
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: %q, %v", value, got, err)
		}
		if got, err := withFlags(t, readSandbox, "build", "--isolation=oci", "."); got != isolation.OCI || err != nil {
			t.Errorf("the flag beside %s: %q, %v", value, got, err)
		}
	}
}

func TestAllow(t *testing.T) {
	got, err := withFlags(t, readBuildRun, "build", "--allow", "network.host,device=/dev/fuse", "--allow", "fs.read=/x", "--allow=ssh", "--allow", "security.insecure")
	if want := []string{"network.host", "device=/dev/fuse", "security.insecure"}; err != nil || !reflect.DeepEqual(got.Allow, want) {
		t.Errorf("%q, %v", got.Allow, err)
	}
	for _, text := range []string{"network.hots", "device=", "everything", "security.insecure=1"} {
		if _, err := withFlags(t, readBuildRun, "build", "--allow", text); exitCode(t.Context(), err) != exitUsage {
			t.Errorf("--allow %s: %v", text, err)
		}
	}
}

// FuzzIsolationFlags gives any values to the flags. What is read is within what the kernel can
// take, and what is not read is an error of the command line.
func FuzzIsolationFlags(f *testing.F) {
	for _, seed := range [][2]string{
		{"network", "ns:/x"}, {"add-host", "a;b=[::1]"}, {"dns", "::1"}, {"ulimit", "nofile=1:2"}, {"device", "/dev/a:/dev/b:rw"},
		{"cpus", "1e9"}, {"cpuset-cpus", "0-3,,"}, {"memory", "1.5g"}, {"shm-size", "-0x1"}, {"security-opt", "mask=/a:b"}, {"cap-add", "a,,b"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, flag, value string) {
		if strings.HasPrefix(value, "seccomp") || lookupFlag(isolationFlags(), flag) == nil || valueOptional(lookupFlag(isolationFlags(), flag)) {
			return // a file's name
		}
		got, err := withFlags(t, readIsolation, "run", "--"+flag+"="+value, "x")
		if err != nil {
			if exitCode(t.Context(), err) != exitUsage && flag != "device" { // which may be missing
				t.Errorf("--%s=%q: %v", flag, value, err)
			}
			return
		}
		l := got.Limits
		if l.ShmSize < 0 || l.Memory < 0 || l.MemorySwap < -1 || l.CPUQuota < 0 || l.CPUShares < 0 || l.CPUPeriod < 0 {
			t.Errorf("--%s=%q: %+v", flag, value, l)
		}
		for _, host := range got.Network.Hosts {
			if strings.ContainsAny(host, " \t\n#") {
				t.Errorf("--%s=%q: %q", flag, value, host)
			}
		}
	})
}
