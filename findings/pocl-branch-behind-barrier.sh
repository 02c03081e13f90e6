#!/usr/bin/env bash
# PoCL 3.1 (Debian 12): a branch on the work-item's number whose body has a loop runs for every work-item, where it stands
# behind a barrier and both stand in a branch that is the same for all. Nothing fails: the result is wrong.
#
# Seen with pocl-opencl-icd 3.1-3+deb12u1 on x86_64: 256 work-items add 171 to a word, so it holds 43776; only the first one
# should. The same lines outside of the outer branch give 171, as OpenCL C says (barriers in a branch are allowed if
# all work-items of the group take it).
#
# Needs Debian 12 with apt-get, dpkg-deb and python3; installs nothing outside of a temporary folder. Ends with 0 while PoCL behaves so,
# with 1 when that has changed, with 2 where the packages cannot be had.
set -euo pipefail

packages=(pocl-opencl-icd=3.1-3+deb12u1 libpocl2=3.1-3+deb12u1 libpocl2-common=3.1-3+deb12u1 ocl-icd-libopencl1=2.3.1-1)
depends=(libclang-cpp15 libclang-common-15-dev libllvm15 libhwloc15 libltdl7 libedit2 libbsd0 libmd0 libffi8 libtinfo6 libudev1 libxml2 libicu72 libz3-4)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
if ! apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" 2>apt.txt; then
  cat apt.txt >&2
  exit 2
fi
for package in "${depends[@]}"; do
  # what PoCL does not need on this machine may be missing
  apt-get -qq -o APT::Sandbox::User=root download "$package" 2>>apt.txt || true
done
for package in *.deb; do
  dpkg-deb -x "$package" root
done
libraries=$folder/root/usr/lib/x86_64-linux-gnu
mkdir vendors cache
ls "$libraries"/libpocl.so.*.*.* >vendors/pocl.icd

cat >host.py <<'PYTHON'
import ctypes as c, os, sys

LIBRARIES = os.environ["LD_LIBRARY_PATH"]
cl = c.CDLL("libOpenCL.so.1")
for name in ("clCreateContext", "clCreateCommandQueue", "clCreateProgramWithSource", "clCreateKernel", "clCreateBuffer"):
    getattr(cl, name).restype = c.c_void_p

LINES = """
  int me = get_local_id(0);
  barrier(CLK_LOCAL_MEM_FENCE);
  if (me < 1) {
    int sum = 0;
    for (int i = 0; i < n; i++) sum += numbers[i];
    if (sum > 0) word[0] = word[0] + sum;
  }
"""


def run(body):
    source = "__kernel void add(__global int *numbers, __global int *word, int n) {%s}" % body
    platform, device, error = c.c_void_p(), c.c_void_p(), c.c_int()
    assert cl.clGetPlatformIDs(1, c.byref(platform), None) == 0
    assert cl.clGetDeviceIDs(platform, c.c_uint64(0xFFFFFFFF), 1, c.byref(device), None) == 0
    version = c.create_string_buffer(256)
    cl.clGetPlatformInfo(platform, 0x0901, c.c_size_t(256), version, None)
    context = c.c_void_p(cl.clCreateContext(None, 1, c.byref(device), None, None, c.byref(error)))
    queue = c.c_void_p(cl.clCreateCommandQueue(context, device, c.c_uint64(0), c.byref(error)))
    text = c.c_char_p(source.encode())
    program = c.c_void_p(cl.clCreateProgramWithSource(context, 1, c.byref(text), None, c.byref(error)))
    assert cl.clBuildProgram(program, 1, c.byref(device), b"", None, None) == 0
    kernel = c.c_void_p(cl.clCreateKernel(program, b"add", c.byref(error)))
    n = 513
    numbers = (c.c_int * n)(*[1 if i % 3 == 0 else 0 for i in range(n)])
    word = (c.c_int * 1)(0)
    copy = c.c_uint64((1 << 0) | (1 << 5))
    buffers = [c.c_void_p(cl.clCreateBuffer(context, copy, c.c_size_t(c.sizeof(a)), a, c.byref(error))) for a in (numbers, word)]
    for i, buffer in enumerate(buffers):
        assert cl.clSetKernelArg(kernel, i, c.c_size_t(8), c.byref(buffer)) == 0
    assert cl.clSetKernelArg(kernel, 2, c.c_size_t(4), c.byref(c.c_int(n))) == 0
    size = c.c_size_t(256)
    assert cl.clEnqueueNDRangeKernel(queue, kernel, 1, None, c.byref(size), c.byref(size), 0, None, None) == 0
    assert cl.clEnqueueReadBuffer(queue, buffers[1], 1, c.c_size_t(0), c.c_size_t(4), word, 0, None, None) == 0
    return version.value.decode(), word[0]


version, inside = run("if (n > 0) {%s}" % LINES)
_, outside = run(LINES)
print(version)
with open("/proc/self/maps") as maps:
    assert any(LIBRARIES in line and "libpocl" in line for line in maps), "another PoCL was loaded"
print("inside of a branch that all take: %d, outside: %d, right: 171" % (inside, outside))
sys.exit(0 if (inside, outside) == (171 * 256, 171) else 1)
PYTHON

LD_LIBRARY_PATH=$libraries OCL_ICD_VENDORS=$folder/vendors POCL_CACHE_DIR=$folder/cache POCL_DEVICES=pthread python3 host.py
