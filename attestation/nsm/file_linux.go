package nsm

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// devicePath is the module's device in an enclave.
	devicePath = "/dev/nsm"
	// ioctlRaw is NSM_IOCTL_RAW, _IOWR(0x0A, 0, struct nsm_raw), on x86_64 and
	// aarch64 (Linux, include/uapi/linux/nsm.h).
	ioctlRaw = 0xC0200A00
)

// raw is struct nsm_raw: address and length of the request, then of the buffer
// for the response, 64 bits each. The driver writes the response's real length
// back. Real pointers keep both buffers alive and in place.
type raw struct {
	request, response unix.Iovec
}

// File is the opened device of this enclave. It is safe for concurrent use;
// Close waits for no exchange, and one that has begun ends as it would have.
type File struct {
	file *os.File
}

// Open opens /dev/nsm. The error wraps fs.ErrNotExist where there is no
// module, which is everywhere but in an enclave.
func Open() (*File, error) { return open(devicePath) }

func open(path string) (*File, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("nsm: %w", err)
	}
	return &File{file}, nil
}

// Close closes the device.
func (f *File) Close() error { return f.file.Close() }

// Exchange is one ioctl. The kernel can't be told to give up, so ctx counts
// until it begins; the driver itself gives up after [Wait]. A request over
// [MaxRequest] is EMSGSIZE, and a closed file fs.ErrClosed.
func (f *File) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := f.file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("ioctl: %w", err)
	}
	response := make([]byte, MaxResponse)
	m := &raw{
		request:  unix.Iovec{Base: unsafe.SliceData(request)},
		response: unix.Iovec{Base: unsafe.SliceData(response)},
	}
	m.request.SetLen(len(request))
	m.response.SetLen(len(response))
	var errno unix.Errno
	// Control keeps the descriptor from being closed, and so from becoming
	// another file's, while the ioctl runs.
	err = conn.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, ioctlRaw, uintptr(unsafe.Pointer(m)))
	})
	if err != nil { // of a closed file, and of no other
		return nil, fmt.Errorf("ioctl: %w", fs.ErrClosed)
	}
	if errno != 0 {
		return nil, fmt.Errorf("ioctl: %w", errno)
	}
	if m.response.Len > MaxResponse {
		return nil, fmt.Errorf("ioctl: %w", ErrResponse)
	}
	return response[:m.response.Len], nil
}
