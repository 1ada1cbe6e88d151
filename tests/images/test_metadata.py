"""Metadata copied from one format to another, and notes on what is dropped."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from io_files import directory, exif_block, png, tiff_block
from PIL import Image, ImageCms

from srkd.images import ifd, xmp
from srkd.images.formats import FORMATS
from srkd.images.metadata import Metadata, fit_metadata
from srkd.images.read import ImageData, read_image, write_image
from support import textured

PIXELS = textured(0, 20, 24)
RAW = b"".join(b"\0" + row.tobytes() for row in PIXELS)
NAME = "Zoë Grün, 東京\0".encode()
MAKER_NOTE = bytes(range(256))
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>%s</rdf:RDF></x:xmpmeta>"


def jpeg(*segments: tuple[int, bytes], trailer: bytes = b"") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "JPEG", quality=95)
    head = b"".join(bytes([255, marker]) + struct.pack(">H", len(data) + 2) + data for marker, data in segments)
    return stream.getvalue()[:2] + head + stream.getvalue()[2:] + trailer


def odd_exif(orientation: int = 1) -> bytes:
    """Names that are not ASCII, a private tag, a maker's note with offsets of its own, a thumbnail, the pixel size."""
    at = 8 + len(directory([(0, 3, 1, b"")] * 6, 8)) + len(NAME) + 2
    sizes = [(0xA002, 3, 1, struct.pack("<H", 24)), (0xA003, 4, 1, struct.pack("<I", 20))]
    below = directory([(0x927C, 7, 256, MAKER_NOTE), *sizes], at)
    thumbnail_at = at + len(below)
    places = [struct.pack("<I", value) for value in (thumbnail_at + 30, len(b"thumbnail"))]
    thumbnail = directory([(0x0201, 4, 1, places[0]), (0x0202, 4, 1, places[1])], 0)
    entries = [
        (0x0112, 3, 1, struct.pack("<H", orientation)),
        (0x013B, 2, len(NAME), NAME),
        (0x4746, 3, 1, struct.pack("<H", 4)),
        (0x8769, 4, 1, struct.pack("<I", at)),
        (0x010E, 2, 4, b"a\xe9\xff\0"),
        (0xEA1C, 7, 3, b"\1\2\3"),
    ]
    first = directory(entries, 8, thumbnail_at)
    block = b"Exif\0\0II*\0\x08\0\0\0" + first.ljust(at - 8, b"\0") + below + thumbnail + b"thumbnail"
    assert block[6 + thumbnail_at + 30 :] == b"thumbnail"
    return block


def test_exif_is_kept_byte_for_byte(tmp_path: Path) -> None:
    block = odd_exif()
    (tmp_path / "a.jpg").write_bytes(jpeg((0xE1, block)))
    image = read_image(tmp_path / "a.jpg")
    assert image.metadata.exif == block and image.notes == ()
    for suffix in ("jpg", "png", "webp"):
        write_image(tmp_path / f"b.{suffix}", image)
        assert read_image(tmp_path / f"b.{suffix}").metadata.exif == block, suffix
    write_image(tmp_path / "b.tif", image)
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        tags = tif.pages.first.tags
        assert tags[0x4746].value == 4 and tags[0xEA1C].value == b"\1\2\3"
        assert tags[0x8769].value["MakerNote"] == MAKER_NOTE
    assert NAME in (tmp_path / "b.tif").read_bytes() and b"a\xe9\xff\0" in (tmp_path / "b.tif").read_bytes()


def test_exif_of_a_turned_image_loses_only_orientation_and_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg((0xE1, odd_exif(6))))
    image = read_image(tmp_path / "a.jpg")
    assert image.pixels.shape == (24, 20, 3)
    block = image.metadata.exif_for(48, 70_000)
    assert block is not None and b"thumbnail" not in block and NAME in block and MAKER_NOTE in block
    exif = Image.Exif()
    exif.load(block)
    assert exif[0x0112] == 1
    assert (exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003]) == (70_000, 48)


def test_big_endian_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.endian = ">"
    exif[0x0112], exif[0x8769] = 8, {0xA002: 24}
    (tmp_path / "a.jpg").write_bytes(jpeg((0xE1, exif.tobytes())))
    image = read_image(tmp_path / "a.jpg")
    assert image.pixels.shape == (24, 20, 3)
    block = image.metadata.exif_for(5, 7)
    exif.load(block or b"")
    assert exif[0x0112] == 1 and exif.get_ifd(0x8769)[0xA002] == 7


@pytest.mark.parametrize(
    ("kind", "six"),
    [(1, b"\6"), (4, b"\6\0\0\0"), (8, b"\6\0"), (9, b"\6\0\0\0"), (5, struct.pack("<II", 6, 1))],
    ids=["byte", "long", "sshort", "slong", "rational"],
)
def test_orientation_of_any_type_is_applied_once(tmp_path: Path, kind: int, six: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg((0xE1, b"Exif\0\0" + tiff_block([(0x0112, kind, 1, six)]))))
    image = read_image(tmp_path / "a.jpg")
    assert image.pixels.shape == (24, 20, 3)
    write_image(tmp_path / "b.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").pixels, image.pixels)


@pytest.mark.parametrize("pointer", [0x8769, 0x8825])
@pytest.mark.parametrize("at", [-60, -(2**31)])
def test_a_negative_pointer_in_exif_leads_nowhere(tmp_path: Path, pointer: int, at: int) -> None:
    block = exif_block(1, (0x010E, 2, 4, b"abc\0"), (pointer, 9, 1, struct.pack("<i", at)))
    (tmp_path / "a.jpg").write_bytes(jpeg((0xE1, block)))
    image = read_image(tmp_path / "a.jpg")
    for name in ("b.jpg", "b.tif", "b.png"):
        write_image(tmp_path / name, image)
        assert b"abc\0" in (tmp_path / name).read_bytes()


def test_exif_too_large_for_jpeg_is_dropped(tmp_path: Path) -> None:
    large = exif_block(1, (0x010E, 2, 70_000, b"x" * 70_000))
    image = ImageData(PIXELS, metadata=Metadata(exif=large, xmp=b"y" * 70_000, comment=b"z" * 70_000))
    kept, lost = fit_metadata(image.metadata, FORMATS["jpeg"], False)
    assert kept == Metadata() and lost == ("EXIF of 68 KB", "XMP of 68 KB", "comment of 68 KB")
    write_image(tmp_path / "a.jpg", image)
    for suffix in ("png", "webp", "tif"):
        write_image(tmp_path / f"a.{suffix}", image)
        assert b"x" * 70_000 in (tmp_path / f"a.{suffix}").read_bytes()


IPTC = b"\x1c\x02\x78\0\5Title\x1c\x02\x19\0\3kwd"
RESOURCES = b"8BIM\4\4\0\0" + struct.pack(">I", len(IPTC)) + IPTC + b"8BIM\4\x0c\0\0" + struct.pack(">I", 6) + b"thumbs"


def test_iptc_and_comments(tmp_path: Path) -> None:
    data = jpeg((0xED, b"Photoshop 3.0\0" + RESOURCES), (0xFE, b"one"), (0xFE, b"two"))
    (tmp_path / "a.jpg").write_bytes(data)
    image = read_image(tmp_path / "a.jpg")
    write_image(tmp_path / "b.jpg", image)
    write_image(tmp_path / "b.tif", image)
    again = read_image(tmp_path / "b.jpg").metadata
    assert again.comment == b"one\ntwo"
    for metadata in (again, read_image(tmp_path / "b.tif").metadata):
        assert metadata.photoshop is not None and IPTC in metadata.photoshop and b"thumbs" not in metadata.photoshop
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert bytes(tif.pages.first.tags[33723].value) == IPTC
    assert fit_metadata(image.metadata, FORMATS["png"], False)[1] == ("IPTC",)
    write_image(tmp_path / "b.png", image)
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["Comment"] == "one\ntwo"


@pytest.mark.parametrize("is_point", [False, True])
def test_geotiff_covers_the_same_area(tmp_path: Path, is_point: bool) -> None:
    keys = (1, 1, 0, 1, 1025, 0, 1, 2 if is_point else 1)
    affine = (10.0, 1.0, 0, 5e5, 2.0, -10.0, 0, 4e6, 0, 0, 0, 0, 0, 0, 0, 1)
    tags = [
        (33550, 12, 3, (10.0, 20.0, 0.0), True),
        (33922, 12, 6, (4.0, 2.0, 0.0, 5e5, 4.5e6, 0.0), True),
        (34735, 3, 8, keys, True),
        (34264, 12, 16, affine, True),
        (42113, 2, 5, "-999", True),
    ]
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", extratags=tags, bigtiff=is_point)
    metadata = read_image(tmp_path / "a.tif").metadata
    write_image(tmp_path / "b.tif", ImageData(PIXELS.repeat(2, 0).repeat(4, 1), metadata=metadata))
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        found = {tag.code: tag.value for tag in tif.pages.first.tags}
    assert found[33550] == (2.5, 10.0, 0.0) and found[34735] == keys and found[42113] == "-999"
    shift = 0.5 if is_point else 0.0
    assert found[33922] == ((4 + shift) * 4 - shift, (2 + shift) * 2 - shift, 0.0, 5e5, 4.5e6, 0.0)

    def ground(matrix: tuple[float, ...], column: float, row: float) -> np.ndarray:
        return np.reshape(matrix, (4, 4)) @ (column - shift, row - shift, 0, 1)  # of a corner, in pixels from the left

    np.testing.assert_allclose(ground(found[34264], 40, 20), ground(affine, 10, 10))
    assert "georeference" in fit_metadata(metadata, FORMATS["png"], False)[1]


@pytest.mark.parametrize(
    "tag",
    [
        (33550, 12, 1, 10.0, True),
        (33922, 12, 5, (4.0, 2.0, 0.0, 5e5, 4.5e6), True),
        (34264, 12, 4, (10.0, 1.0, 0.0, 5e5), True),
        (33550, 2, 4, "abc", True),
        (34735, 2, 4, "abc", True),
    ],
)
def test_a_corrupt_georeference_is_dropped(tmp_path: Path, tag: tuple[object, ...]) -> None:
    good = (33922, 12, 6, (4.0, 2.0, 0.0, 5e5, 4.5e6, 0.0), True)
    tags = [tag] if tag[0] == good[0] else [tag, good]
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", extratags=tags)
    image = read_image(tmp_path / "a.tif")
    assert image.notes == ("its georeference is corrupt and was left out",)
    write_image(tmp_path / "b.tif", image)
    assert read_image(tmp_path / "b.tif").metadata.geo is None


def test_bigtiff_and_other_tags_of_a_tiff(tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for big, order in ((True, "<"), (True, ">"), (False, ">")):
        tifffile.imwrite(
            tmp_path / "a.tif",
            PIXELS,
            photometric="rgb",
            bigtiff=big,
            byteorder=order,
            iccprofile=icc,
            resolution=(300, 150),
            resolutionunit=2,
            description="words",
            extratags=[(0x010D, 2, 4, "doc", True), (33723, 7, len(IPTC), IPTC, True)],
        )
        image = read_image(tmp_path / "a.tif")
        assert (image.metadata.icc, image.metadata.dpi, image.notes) == (icc, (300, 150), ())
        write_image(tmp_path / "b.tif", image)
        with tifffile.TiffFile(tmp_path / "b.tif") as tif:
            tags = tif.pages.first.tags
            assert tags[0x010D].value == "doc" and tags[33723].value == IPTC and "words" in tags[270].value


GAIN_MAP = (
    b"<rdf:Description xmlns:h='http://ns.adobe.com/hdr-gain-map/1.0/' xmlns:C='http://ns.google.com/photos/1.0/"
    b"container/' xmlns:I='http://ns.google.com/photos/1.0/container/item/' xmlns:dc='d' h:Version='1.0' "
    b"dc:t='kept'>"
    b"<h:Gamma><rdf:Seq><rdf:li>1</rdf:li></rdf:Seq></h:Gamma><C:Directory><rdf:Seq><rdf:li><C:Item "
    b"I:Semantic='GainMap' I:Length='99'/></rdf:li></rdf:Seq></C:Directory></rdf:Description>"
)
MOTION = (
    b"<rdf:Description xmlns:G='http://ns.google.com/photos/1.0/camera/' G:MotionPhoto='1' "
    b'G:MicroVideoOffset="4000"><G:MotionPhotoVersion>1</G:MotionPhotoVersion></rdf:Description>'
)


@pytest.mark.parametrize(
    ("inner", "trailer", "note"),
    [
        (GAIN_MAP, b"\xff\xd8\xff\xd9", "its gain map was left out"),
        (MOTION, b"\0\0\0\x18ftypmp42", "its video was left out"),
    ],
)
def test_xmp_has_no_references_to_dropped_attachments(tmp_path: Path, inner: bytes, trailer: bytes, note: str) -> None:
    packet = b"http://ns.adobe.com/xap/1.0/\0" + XMP % inner
    (tmp_path / "a.jpg").write_bytes(jpeg((0xE1, packet), trailer=trailer))
    image = read_image(tmp_path / "a.jpg")
    assert image.notes == (note,)
    write_image(tmp_path / "b.jpg", image)
    left = read_image(tmp_path / "b.jpg").metadata.xmp or b""
    for word in (b"GainMap", b"Version", b"Gamma", b"Directory", b"MotionPhoto=", b"MicroVideoOffset", b"<G:"):
        assert word not in left
    assert (b"dc:t='kept'" in left) == (inner is GAIN_MAP) and left.endswith(b"</rdf:RDF></x:xmpmeta>")


@pytest.mark.parametrize(
    "part",
    [b"<g:a>", b"</g:a ", b" g:a='", b"a.", b"\t g:a", b"xmlns:a ", b'xmlns:%d="http://ns.adobe.com/exif/1.0/" '],
)
def test_an_xmp_packet_of_any_content_takes_linear_time(part: bytes) -> None:
    """A megabyte of each took minutes to days, without reacting to a signal."""
    start = b'<x xmlns:g="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:e="http://ns.adobe.com/exif/1.0/">'
    packet = start + b"".join(part % number if b"%d" in part else part for number in range(1_000_000 // len(part)))
    began = time.process_time()
    kept, _ = xmp.without_attachments(packet)
    xmp.sized(xmp.upright(kept), 20, 24, (2.0, 2.0))
    assert time.process_time() - began < 20


def test_elements_and_attributes_of_attachments_are_removed_whole() -> None:
    start = b'<x xmlns:g="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:h="other">'
    inner = b"<g:a>1<g:a/></g:a>|<h:a>2</h:a>|<g:b z='1'/>|<g:c>open|<h:d g:e='3' h:e='4'/>|<g:f\n>5</g:f >|</g:a>"
    left, attached = xmp.without_attachments(start + inner + b"</x>")
    assert left == start + b"|<h:a>2</h:a>||<g:c>open|<h:d h:e='4'/>||</g:a></x>" and attached == ("gain map",)


def test_tags_that_share_their_bytes_take_no_memory() -> None:
    length = 400_000
    entries = b"".join(struct.pack("<HHII", 1000 + n, 7, length, 0) for n in range(4000))
    block = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 4000) + entries + bytes(4)
    block += bytes(length)
    with pytest.raises(ValueError, match="longer than the file"):
        ifd.first_directory(block)
    many = {tag: ifd.Tag(7, 5000, bytes([tag % 256]) * 5000) for tag in range(1, 3000)}
    again = ifd.first_directory(b"II*\0\x08\0\0\0" + ifd.build(many, 8)).tags
    assert again == many


def test_xmp_has_the_new_size() -> None:
    packet = XMP % (
        b"<rdf:Description xmlns:tiff='http://ns.adobe.com/tiff/1.0/' "
        b"xmlns:e='http://ns.adobe.com/exif/1.0/' xmlns:P='http://ns.google.com/photos/1.0/panorama/' "
        b"tiff:ImageWidth='24' P:FullPanoWidthPixels='48' "
        b"P:CroppedAreaTopPixels='5' P:PoseHeadingDegrees='7'><e:PixelYDimension>20</e:PixelYDimension>"
        b"</rdf:Description>"
    )
    sized = Metadata(xmp=packet, size=(20, 24)).xmp_for(60, 48) or b""
    for words in (b"ImageWidth='48'", b"FullPanoWidthPixels='96'", b"TopPixels='15'", b"Degrees='7'", b"on>60</e:"):
        assert words in sized


CHUNKS = {
    "gamma 1": ((b"gAMA", struct.pack(">I", 100_000)),),
    "display p3": (
        (b"gAMA", struct.pack(">I", 45455)),
        (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)),
    ),
    "cicp bt.709": ((b"cICP", bytes([1, 1, 0, 1])),),
    "cicp p3": ((b"cICP", bytes([12, 13, 0, 1])),),
}


def linear(encoded: np.ndarray, kind: str) -> np.ndarray:
    """Linear sRGB light of samples in [0, 1], computed from the definitions."""
    srgb = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    if kind == "gamma 1":
        return encoded
    if kind == "cicp bt.709":
        return np.where(encoded < 0.081, encoded / 4.5, ((encoded + 0.099) / 1.099) ** (1 / 0.45))
    return srgb @ np.array([[1.2249, -0.2249, 0], [-0.0420, 1.0420, 0], [-0.0197, -0.0786, 1.0983]]).T


@pytest.mark.parametrize("kind", CHUNKS)
@pytest.mark.parametrize("suffix", ["jpg", "tif", "webp"])
def test_colour_of_a_png_in_other_formats(tmp_path: Path, kind: str, suffix: str) -> None:
    """The new file, colour managed, has the colours that the chunks of the old one define."""
    samples = np.array([[[60, 128, 90], [200, 190, 180], [128, 128, 128], [90, 100, 110]]], np.uint8).repeat(8, 0)
    samples = samples.repeat(8, 1)
    raw = b"".join(b"\0" + row.tobytes() for row in samples)
    (tmp_path / "a.png").write_bytes(png(32, 8, 8, 2, raw, *CHUNKS[kind]))
    write_image(tmp_path / f"b.{suffix}", read_image(tmp_path / "a.png"), quality=100)
    with Image.open(tmp_path / f"b.{suffix}") as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        shown = ImageCms.profileToProfile(image.convert("RGB"), profile, ImageCms.createProfile("sRGB"))
    light = np.clip(linear(samples / 255, kind), 0, 1)
    expected = 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(np.asarray(shown) - expected).max() < 4
    write_image(tmp_path / "c.png", read_image(tmp_path / "a.png"))
    assert all(chunk[0] + chunk[1] in (tmp_path / "c.png").read_bytes() for chunk in CHUNKS[kind])


def test_colour_spaces_without_a_profile(tmp_path: Path) -> None:
    for chunks in ([(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45455))], [(b"cICP", bytes([1, 13, 0, 1]))], []):
        (tmp_path / "a.png").write_bytes(png(24, 20, 8, 2, RAW, *chunks))
        kept, lost = fit_metadata(read_image(tmp_path / "a.png").metadata, FORMATS["jpeg"], False)
        assert kept.icc is None and lost == ()
    (tmp_path / "a.png").write_bytes(png(24, 20, 8, 2, RAW, (b"cICP", bytes([9, 16, 0, 1]))))
    metadata = read_image(tmp_path / "a.png").metadata
    assert fit_metadata(metadata, FORMATS["jpeg"], False)[1] == ("colour space (cICP 9/16/0)",)
    assert fit_metadata(metadata, FORMATS["png"], False) == (metadata, ())
    grey = fit_metadata(Metadata(png_colour={b"gAMA": struct.pack(">I", 100_000)}), FORMATS["jpeg"], True)[0].icc
    assert grey is not None and grey[16:20] == b"GRAY"
    ImageCms.ImageCmsProfile(io.BytesIO(grey))


def test_profile_of_a_bmp(tmp_path: Path) -> None:
    icc, pixels = b"a profile", bytes(16)
    header = struct.pack("<IiiHHIIiiII", 124, 2, 2, 1, 24, 0, 16, 0, 0, 0, 0) + bytes(16) + b"DEBM" + bytes(48)
    header += struct.pack("<IIII", 4, 124 + 16, len(icc), 0)
    data = b"BM" + struct.pack("<IHHI", 14 + 124 + 16 + len(icc), 0, 0, 138) + header + pixels + icc
    (tmp_path / "a.bmp").write_bytes(data)
    metadata = read_image(tmp_path / "a.bmp").metadata
    assert metadata.icc == icc
    assert fit_metadata(metadata, FORMATS["bmp"], False)[1] == ("colour profile",)


def test_imagemagicks_exif_of_a_png_is_read(tmp_path: Path) -> None:
    block = exif_block(6).hex().encode()
    text = b"Raw profile type exif\0\nexif\n      %d\n%s\n" % (len(block) // 2, block)
    (tmp_path / "a.png").write_bytes(png(24, 20, 8, 2, RAW, (b"tEXt", text), (b"tEXt", b"Title\0x")))
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image.pixels, np.rot90(PIXELS, -1))
    assert b"Raw profile" not in image.metadata.png_text and b"Title" in image.metadata.png_text


def test_notes_list_everything_else_that_is_dropped(tmp_path: Path) -> None:
    other = Image.fromarray(PIXELS)
    other.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[other], quality=95)  # as stereo cameras write
    image = read_image(tmp_path / "a.jpg")
    assert image.pixels.shape == PIXELS.shape
    assert image.notes == ("1 further image in the file left out",)
    note = b"<rdf:Description xmlns:n='http://ns.adobe.com/xmp/note/' n:HasExtendedXMP='0123'/>"
    (tmp_path / "b.jpg").write_bytes(jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP % note)))
    image = read_image(tmp_path / "b.jpg")
    assert image.notes == ("its extended XMP was left out",) and b"0123" not in (image.metadata.xmp or b"0123")
    tifffile.imwrite(tmp_path / "c.tif", PIXELS, photometric="rgb", extratags=[(37724, 7, 5, b"layer", True)])
    assert read_image(tmp_path / "c.tif").notes == ("its layers were left out",)


def test_profile_and_xmp_of_a_jpeg_2000(tmp_path: Path) -> None:
    Image.fromarray(PIXELS.repeat(4, 0).repeat(4, 1)).save(tmp_path / "a.jp2", irreversible=False)
    packet = XMP % b""
    box = b"uuid" + bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + packet
    data = (tmp_path / "a.jp2").read_bytes()
    at = data.index(b"jp2c") - 4
    (tmp_path / "a.jp2").write_bytes(data[:at] + struct.pack(">I", len(box) + 4) + box + data[at:])
    metadata = read_image(tmp_path / "a.jp2").metadata
    assert metadata.xmp == packet and metadata.icc is None
