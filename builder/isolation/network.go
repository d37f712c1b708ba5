package isolation

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/limits"
)

// Check is that of Options.Check for these.
func (n Network) Check() error {
	if !slices.Contains([]Mode{DefaultNetwork, Private, Host, None}, n.Mode) {
		return fmt.Errorf("%w: there is no network %q, only %s, %s and %s", limits.ErrInvalid, n.Mode, Private, Host, None)
	}
	if len(n.Hostname) > maxHostname || strings.ContainsFunc(n.Hostname, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w: %q is not a machine's name", limits.ErrInvalid, n.Hostname)
	}
	if n.NoHosts && len(n.Hosts) > 0 {
		return fmt.Errorf("%w: a host cannot be added to an /etc/hosts that is to stay as it is", limits.ErrInvalid)
	}
	for _, entry := range n.Hosts {
		if _, _, err := ParseHost(entry); err != nil {
			return err
		}
	}
	for _, server := range n.DNS {
		if _, err := netip.ParseAddr(server); err != nil || !isWord(server) {
			return fmt.Errorf("%w: nameserver %q is no address", limits.ErrInvalid, server)
		}
	}
	for _, word := range slices.Concat(n.Search, n.Options) {
		if !isWord(word) {
			return fmt.Errorf("%w: %q is no domain or option of resolv.conf", limits.ErrInvalid, word)
		}
	}
	return nil
}

// maxHostname is the kernel's limit, in bytes.
const maxHostname = 64

// isWord says whether a text is one word of a file of words and lines.
func isWord(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' || r == ';' })
}

// ParseHost takes an element of Network.Hosts apart: NAME:ADDRESS, where an address of IPv6 may be in
// brackets. The address of HostGateway is the zero one.
func ParseHost(entry string) (name string, address netip.Addr, err error) {
	name, text, found := strings.Cut(entry, ":")
	if !found || !isWord(name) {
		return "", address, fmt.Errorf("%w: host %q is not NAME:ADDRESS", limits.ErrInvalid, entry)
	}
	if text == HostGateway {
		return name, address, nil
	}
	if inner, bracketed := strings.CutPrefix(text, "["); bracketed && strings.HasSuffix(inner, "]") {
		text = strings.TrimSuffix(inner, "]")
	}
	if address, err = netip.ParseAddr(text); err != nil || !isWord(text) { // a zone may be anything
		return "", address, fmt.Errorf("%w: host %q: %q is no address, and not %s", limits.ErrInvalid, entry, text, HostGateway)
	}
	return name, address, nil
}
