package dockerfile

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// exposed gives the ports, each as port/protocol, that an argument of EXPOSE stands
// for: a port or a range, tcp unless a protocol follows a slash. An address and a
// host port before it are accepted as BuildKit does, and have no effect.
func exposed(spec string) ([]string, error) {
	ports, protocol, _ := strings.Cut(spec[strings.LastIndexByte(spec, ':')+1:], "/")
	switch protocol = strings.ToLower(protocol); protocol {
	case "":
		protocol = "tcp"
	case "tcp", "udp", "sctp":
	default:
		return nil, fmt.Errorf("the protocol %q is none of tcp, udp and sctp", protocol)
	}
	first, last, err := portRange(ports)
	if err != nil {
		return nil, err
	}
	if err := checkHostPart(spec, last-first); err != nil {
		return nil, err
	}
	list := make([]string, 0, last-first+1)
	for port := first; port <= last; port++ {
		list = append(list, strconv.Itoa(port)+"/"+protocol)
	}
	return list, nil
}

// checkHostPart checks the "address:port:" before a container port, whose range
// spans width ports beyond the first.
func checkHostPart(spec string, width int) error {
	host, _, found := cutLast(spec, ":")
	if !found {
		return nil
	}
	address, port, found := cutLast(host, ":")
	if !found {
		address, port = "", host
	}
	if address != "" {
		bare := strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
		if _, err := netip.ParseAddr(bare); err != nil {
			return fmt.Errorf("%q is not an IP address", address)
		}
	}
	if port == "" {
		return nil
	}
	first, last, err := portRange(port)
	if err != nil {
		return err
	}
	if width > 0 && last-first != width {
		return errors.New("the two port ranges differ in length")
	}
	return nil
}

// cutLast cuts around the last separator.
func cutLast(text, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(text, sep); i >= 0 {
		return text[:i], text[i+len(sep):], true
	}
	return text, "", false
}

// portRange reads "port" or "first-last".
func portRange(text string) (first, last int, err error) {
	a, b, isRange := strings.Cut(text, "-")
	if first, err = portNumber(a); err != nil {
		return 0, 0, err
	}
	if !isRange {
		return first, first, nil
	}
	if last, err = portNumber(b); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, fmt.Errorf("the range %s ends before it starts", text)
	}
	return first, last, nil
}

func portNumber(text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a port from 0 to 65535", text)
	}
	return int(port), nil
}
