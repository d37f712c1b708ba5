package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/isolation"
)

// Machine is what a machine's own files say of its network: the texts of /etc/hosts and
// /etc/resolv.conf.
type Machine struct{ Hosts, Resolv string }

// nameserver is where, in a namespace, the machine's nameserver is found that listens on loopback.
const nameserver = "10.0.2.3"

// HostsFile is the text of /etc/hosts for a command: the entries that were asked for, then the machine's.
// Off the machine's own network, those of the machine's that are loopback addresses would lead to the
// command itself, so only localhost stays of them.
func (m Machine) HostsFile(n isolation.Network, own bool) (string, error) {
	var b strings.Builder
	for _, entry := range n.Hosts {
		name, address, err := isolation.ParseHost(entry)
		if err == nil && !address.IsValid() {
			address, err = gateway(own)
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s\t%s\n", address, name)
	}
	if !own {
		b.WriteString(m.Hosts)
		return b.String(), nil
	}
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for line := range strings.Lines(m.Hosts) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if address, err := netip.ParseAddr(fields[0]); err == nil && !address.IsLoopback() {
			b.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
	}
	return b.String(), nil
}

// gateway is an address of the machine: on its own network loopback, else the one from which it
// reaches others. Nothing is sent for that.
func gateway(own bool) (netip.Addr, error) {
	if !own {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	for _, other := range []string{"192.0.2.1:9", "198.51.100.1:9", "[2001:db8::1]:9"} { // for documentation (RFC 5737, RFC 3849)
		conn, err := net.Dial("udp", other)
		if err != nil {
			continue
		}
		address := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		conn.Close()
		if !address.IsLoopback() {
			return address, nil
		}
	}
	return netip.Addr{}, &errdefs.HostError{
		Missing: "the machine has no address by which a command with a network of its own could reach it (" + isolation.HostGateway + ")",
		Remedy:  "connect the machine to a network, give the address itself, or choose the network host",
	}
}

// ResolvFile is the text of /etc/resolv.conf for a command. Off the machine's own network, a nameserver that
// listens on the machine's loopback is found at another address.
func (m Machine) ResolvFile(n isolation.Network, own bool) string {
	if len(n.DNS)+len(n.Search)+len(n.Options) == 0 && (!own || !m.loopback()) {
		return m.Resolv
	}
	servers, search, options := n.DNS, n.Search, n.Options
	for line := range strings.Lines(m.Resolv) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch words := fields[1:]; {
		case fields[0] == "nameserver" && len(n.DNS) == 0 && !(own && isLoopback(words[0])):
			servers = append(servers, words[0])
		case (fields[0] == "search" || fields[0] == "domain") && len(n.Search) == 0:
			search = words // the last one counts
		case fields[0] == "options" && len(n.Options) == 0:
			options = append(options, words...)
		}
	}
	if own && len(n.DNS) == 0 && m.forwards() {
		servers = append([]string{nameserver}, servers...)
	}
	var b strings.Builder
	if len(search) > 0 && !slices.Equal(search, []string{"."}) {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	for _, server := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.String()
}

// nameservers are the machine's.
func (m Machine) nameservers() []string {
	var servers []string
	for line := range strings.Lines(m.Resolv) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "nameserver" {
			servers = append(servers, fields[1])
		}
	}
	return servers
}

// loopback says whether one of the machine's nameservers is on its loopback.
func (m Machine) loopback() bool { return slices.ContainsFunc(m.nameservers(), isLoopback) }

// forwards says whether nameserver stands for the machine's: if the first of them that has an address
// of IPv4, of which alone the programs know, is on loopback. It must not otherwise: pasta
// would have the answers of that server come from nameserver also when it was asked itself.
func (m Machine) forwards() bool {
	for _, server := range m.nameservers() {
		if address, err := netip.ParseAddr(server); err == nil && address.Is4() {
			return address.IsLoopback()
		}
	}
	return false
}

func isLoopback(server string) bool {
	address, err := netip.ParseAddr(server)
	return err == nil && address.IsLoopback()
}
