// Package network gives commands network namespaces of their own: empty ones, and such that are
// connected to the machine's network through a program, pasta or slirp4netns, which carries their
// connections as an ordinary program of the user would. It also makes the texts of /etc/hosts and
// /etc/resolv.conf.
//
// Nothing of the machine that listens on a loopback address can be reached from a namespace, be it
// by a packet that a command makes itself: see filter.go.
package network
