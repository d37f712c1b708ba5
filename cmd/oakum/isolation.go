package main

import (
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/dockerfile"
)

// isolationFlags are those of build and run for how commands are kept apart from the machine;
// hostname are further names of that flag.
func isolationFlags(hostname ...string) []cli.Flag {
	return slices.Concat([]cli.Flag{
		&cli.StringFlag{Name: "isolation", Usage: "`thread|oci|chroot` what keeps commands apart from the machine: namespaces, made by oakum itself or by libcontainer, the code of runc; or a root directory alone, as where nothing else is allowed; default is the best that the machine allows"},
	}, networkFlags(hostname), rightsFlags(), limitFlags())
}

// buildRunFlags are those of build for what each RUN sees, and may ask for.
func buildRunFlags() []cli.Flag {
	return []cli.Flag{
		volumeFlag("each RUN see"),
		&cli.StringSliceFlag{Name: "mount", Usage: "`type=TYPE,target=PATH[,...]` give each RUN a mount in the words of RUN --mount: type=cache, bind (source is in the context, or in the image or stage from), tmpfs, secret or ssh; repeatable"},
		&cli.StringSliceFlag{Name: "allow", Usage: "let the Dockerfile have `network.host|security.insecure|device[=PATH]`: RUN --network=host, RUN --security=insecure, or RUN --device; repeatable"},
	}
}

// readBuildRun reads what each RUN has.
func readBuildRun(c *cli.Context) (o dockerfile.RunOptions, err error) {
	if o.Isolation, err = readIsolation(c); err != nil {
		return o, err
	}
	if o.Volumes, err = readVolumes(values(c, "volume")); err != nil {
		return o, err
	}
	o.Mounts = values(c, "mount")
	if o.Allow, err = readAllow(listed(c, "allow")); err != nil {
		return o, err
	}
	if err := o.Check(); err != nil {
		return o, mountError(err)
	}
	return o, nil
}

// readAllow reads the entitlements of --allow. What BuildKit asks for of files and agents that the
// command line names itself is always allowed here.
func readAllow(texts []string) ([]string, error) {
	var allowed []string
	for _, text := range texts {
		name, value, given := strings.Cut(text, "=")
		switch {
		case slices.Contains(entitlements, text), name == "device" && value != "":
			allowed = append(allowed, text)
		case text == allowDelete, name == "ssh" && !given, name == "fs", strings.HasPrefix(name, "fs."):
		default:
			err := usagef("--allow %q is not known: it is network.host, security.insecure, device or device=PATH", text)
			err.hint = didYouMean(text, entitlements)
			return nil, err
		}
	}
	return allowed, nil
}

// allowDelete lets --output with mode=delete empty any directory, and is buildx's.
const allowDelete = "buildx.local.delete"

var entitlements = []string{"network.host", "security.insecure", "device"}

// readIsolation reads isolationFlags.
func readIsolation(c *cli.Context) (opts isolation.Options, err error) {
	if opts.Sandbox, err = readSandbox(c); err != nil {
		return opts, err
	}
	if opts.Network, err = readNetwork(c); err != nil {
		return opts, err
	}
	if err := readRights(c, &opts); err != nil {
		return opts, err
	}
	opts.Limits, err = readLimits(c)
	return opts, err
}

// isolationVariable is buildah's for --isolation.
const isolationVariable = "BUILDAH_ISOLATION"

// readSandbox reads --isolation. What buildah calls rootless is done by namespaces in either sandbox. The
// variable asks for an OCI runtime in general, and not for libcontainer, and for a chroot where nothing
// better is known: it is the default.
func readSandbox(c *cli.Context) (isolation.Sandbox, error) {
	name, value := "--isolation", c.String("isolation")
	if !c.IsSet("isolation") {
		name, value = isolationVariable, os.Getenv(isolationVariable)
		if value == string(isolation.OCI) || value == chroot {
			return isolation.Default, nil
		}
	}
	switch strings.ToLower(value) {
	case "", "default", "rootless", chroot:
		return isolation.Default, nil
	case "thread":
		return isolation.Thread, nil
	case "oci":
		return isolation.OCI, nil
	}
	return "", usagef("%s %q is not known: it is thread, oci or chroot; buildah's rootless is the default", name, value)
}

// chroot as --isolation is the choice to have no namespaces.
const chroot = "chroot"

// readChoice reads --isolation as the choice of how far commands are kept apart. A sandbox that is named has
// namespaces.
func readChoice(c *cli.Context) (isolation.Choice, error) {
	if !c.IsSet("isolation") {
		return isolation.Choice{}, nil
	}
	sandbox, err := readSandbox(c)
	switch {
	case sandbox != isolation.Default:
		return isolation.Choice{Least: isolation.Reduced}, err
	case strings.ToLower(c.String("isolation")) == chroot:
		return isolation.Choice{Most: isolation.Chroot}, err
	}
	return isolation.Choice{}, err
}

func networkFlags(hostname []string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "network", Aliases: []string{"net"}, Usage: "`default|private|host|none` the network of commands: their own, which reaches what is outside of this machine (private), this machine's (host), or none; default is private where pasta or slirp4netns is installed, else host"},
		&cli.StringSliceFlag{Name: "add-host", Usage: "let commands know the host `NAME:ADDRESS`; the address host-gateway is this machine's; repeatable"},
		&cli.BoolFlag{Name: "no-hosts", Usage: "leave /etc/hosts as the image has it"},
		&cli.StringSliceFlag{Name: "dns", Usage: "let commands ask the name server `ADDRESS`, and not this machine's; repeatable"},
		&cli.StringSliceFlag{Name: "dns-option", Aliases: []string{"dns-opt"}, Usage: "give the `OPTION` in resolv.conf; repeatable"},
		&cli.StringSliceFlag{Name: "dns-search", Usage: "search for host names in `DOMAIN`; . is none; repeatable"},
		&cli.StringFlag{Name: "hostname", Aliases: hostname, Usage: "let `NAME` be the machine's name that commands see"},
	}
}

func readNetwork(c *cli.Context) (n isolation.Network, err error) {
	if n.Mode, err = parseNetwork(c.String("network")); err != nil {
		return n, err
	}
	for _, text := range listed(c, "add-host") {
		hosts, err := parseHost(text)
		if err != nil {
			return n, err
		}
		n.Hosts = append(n.Hosts, hosts...)
	}
	if n.NoHosts = c.Bool("no-hosts"); n.NoHosts && len(n.Hosts) > 0 {
		return n, usagef("--no-hosts and --add-host exclude each other")
	}
	for _, text := range listed(c, "dns") {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return n, notA("dns", text, "the address of a name server", "--dns 192.0.2.53")
		}
		n.DNS = append(n.DNS, address.String())
	}
	for _, flag := range []string{"dns-option", "dns-search"} {
		for _, text := range listed(c, flag) {
			if !isWord(text) {
				return n, notA(flag, text, "one word", "")
			}
		}
	}
	n.Options, n.Search = listed(c, "dns-option"), listed(c, "dns-search")
	if n.Hostname = c.String("hostname"); n.Hostname != "" && (!isWord(n.Hostname) || len(n.Hostname) > maxHostname) {
		return n, usagef("--hostname %q is not a machine's name: up to %d letters, digits, dots and hyphens", n.Hostname, maxHostname)
	}
	return n, nil
}

// maxHostname is the kernel's limit, in bytes.
const maxHostname = 64

// parseNetwork reads --network in the spellings of docker, podman and buildah.
func parseNetwork(text string) (isolation.Mode, error) {
	kind, options, _ := strings.Cut(text, ":")
	var mode isolation.Mode
	switch kind {
	case "", "default":
	case "host":
		mode = isolation.Host
	case "none":
		mode = isolation.None
	case "private", "bridge", "pasta", "slirp4netns":
		mode = isolation.Private
	case "ns", "container":
		err := usagef("--network %q: the network of another process or container is not entered", text)
		if kind == "ns" && options != "" {
			err.hint = "start oakum in it: nsenter --net=" + options + " oakum ... --network=host"
		}
		return "", err
	default:
		err := usagef("--network %q is not known: it is default, private, host or none", text)
		err.hint = didYouMean(kind, []string{"default", "private", "host", "none", "bridge", "pasta", "slirp4netns"})
		return "", err
	}
	if strings.Contains(text, ":") {
		err := usagef("--network %q: %s has no options here", text, kind)
		err.hint = "--network=" + kind + " alone works"
		return "", err
	}
	return mode, nil
}

// parseHost reads --add-host: NAME:ADDRESS, or with = as docker has it too, and several
// names with ; between as podman has it. An IPv6 address may be in brackets.
func parseHost(text string) ([]string, error) {
	names, address, ok := strings.Cut(text, "=")
	if !ok {
		names, address, _ = strings.Cut(text, ":")
	}
	if inner, ok := strings.CutPrefix(address, "["); ok {
		address = strings.TrimSuffix(inner, "]")
	}
	if address != isolation.HostGateway {
		ip, err := netip.ParseAddr(address)
		if err != nil || ip.Zone() != "" {
			err := notA("add-host", text, "NAME:ADDRESS", "--add-host db:192.0.2.7, db:[2001:db8::7] or db:host-gateway")
			if _, reversed := netip.ParseAddr(names); reversed == nil {
				err.hint = "the name stands first: --add-host " + address + ":" + names
			}
			return nil, err
		}
		address = ip.String()
	}
	var hosts []string
	for name := range strings.SplitSeq(names, ";") {
		if !isWord(name) || strings.ContainsAny(name, "#:") {
			return nil, usagef("--add-host %q: %q is not a host's name", text, name)
		}
		hosts = append(hosts, name+":"+address)
	}
	return hosts, nil
}

// isWord says that text is something without spaces and control characters.
func isWord(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// listed gives the values of a flag that may be repeated, and that buildah and podman take
// with commas between too. Empty ones, as a variable of a script may be, are none.
func listed(c *cli.Context, flag string) []string {
	var all []string
	for _, text := range values(c, flag) {
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				all = append(all, item)
			}
		}
	}
	return all
}

// notA is the error for a value of a flag that is none of its forms; example may be "".
func notA(flag, value, form, example string) *usageError {
	err := usagef("--%s %q is not %s", flag, value, form)
	if example != "" {
		err.hint = "for example " + example
	}
	return err
}

// unfit is the error for a value of a flag that err says what is wrong with.
func unfit(flag, value string, err error) *usageError {
	return usagef("--%s %q: %s", flag, value, plain(err))
}

// plain is what an error of the library says, without the kind that it is of: a usageError is one.
func plain(err error) string {
	return strings.TrimPrefix(err.Error(), builder.ErrInvalid.Error()+": ")
}
