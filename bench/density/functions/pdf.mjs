// A report of some twenty pages, with text, tables and a chart, as PDF.
import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import PDFDocument from 'pdfkit';

export const work = async (seed) => {
  const made = new Date(Date.UTC(2026, 0, 1));
  const report = new PDFDocument({ info: { Title: `Report ${seed}`, CreationDate: made, ModDate: made } });
  for (let page = 0; page < 20; page += 1) {
    if (page > 0) report.addPage();
    report.fontSize(18).text(`Chapter ${page} of report ${seed}`).fontSize(9).moveDown();
    for (let row = 0; row < 40; row += 1) {
      report.text(
        `${row}. What was measured on day ${row * page + seed}: ${(row * 31 + page) % 97} of ${97 + row}`,
      );
    }
    report.moveTo(72, 700);
    for (let x = 0; x < 60; x += 1) report.lineTo(72 + x * 7, 700 - ((x * seed + page * 5) % 60));
    report.stroke();
  }
  report.end();
  return createHash('sha256')
    .update(await buffer(report))
    .digest('hex');
};
