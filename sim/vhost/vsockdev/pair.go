package vsockdev

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// pair answers two connections that are each other's ends.
func pair() (near, far net.Conn, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if near, err = connection(fds[0]); err != nil {
		unix.Close(fds[1])
		return nil, nil, err
	}
	if far, err = connection(fds[1]); err != nil {
		near.Close()
		return nil, nil, err
	}
	return near, far, nil
}

// connection makes a connection of a socket, which it owns.
func connection(fd int) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "vsock")
	defer file.Close()
	return net.FileConn(file)
}
